"""The records of a server's answer: which addresses the name that was asked for has, and TTLs.

Servers are not trusted: what does not follow from the question, name after name, is no address
of it, and what makes no sense raises ValueError (RFC 1035, 2181, 3596).
"""

import struct

from knarr.networks.resolver import message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CNAME = 5
_TRUNCATED = 0x02
_POINTER = 0xC0
_NAME = 255
_CHAIN = 16  # names one after the other
_RECORD = struct.Struct(">HHIH")
_SIZES = {message.A: 4, message.AAAA: 16}


class Records:
    """What stands in an answer. addresses: with their TTLs in seconds; ttls: where all are."""

    __slots__ = ("addresses", "ttls")

    def __init__(self, reply: bytes, key: bytes) -> None:
        """key: the name that was asked for, as ``message.Query`` has it. Raises ValueError."""
        self.ttls: list[int] = []
        aliases: dict[bytes, bytes] = {}
        held: dict[bytes, list[tuple[bytes, int]]] = {}
        for owner, kind, place, start, end in self._walk(reply):
            ttl = ttl_at(reply, place)
            if kind == _CNAME:
                aliases[owner] = name_at(reply, start)[0]
            elif end - start == _SIZES.get(kind):
                held.setdefault(owner, []).append((reply[start:end], ttl))
        self.addresses: list[tuple[bytes, int]] = []
        for _ in range(_CHAIN):
            self.addresses += held.pop(key, [])
            if key not in aliases:
                break
            key = aliases.pop(key)

    def _walk(self, reply: bytes) -> "Iterator[tuple[bytes, int, int, int, int]]":
        """Yield owner, kind, place of the TTL, start and end of the data, of each answer."""
        questions, answers, authorities, additional = struct.unpack_from(">HHHH", reply, 4)
        offset = message.HEADER
        try:
            for _ in range(questions):
                offset = name_at(reply, offset)[1] + 4
            for number in range(answers + authorities + additional):
                owner, at = name_at(reply, offset)
                kind, group, _, length = _RECORD.unpack_from(reply, at)
                start = at + _RECORD.size
                offset = start + length
                if offset > len(reply):
                    raise ValueError("a record ends behind the message")
                if kind != message.OPT:
                    self.ttls.append(at + 4)
                    if number < answers and group == message.IN:
                        yield owner, kind, at + 4, start, offset
        except (ValueError, struct.error) as error:
            if not reply[2] & _TRUNCATED:
                raise ValueError(str(error)) from None

    def bounded(self, reply: bytes, most: int) -> bytes:
        """Return the answer with no TTL above so many seconds."""
        changed = bytearray(reply)
        for place in self.ttls:
            if ttl_at(reply, place) > most:
                struct.pack_into(">I", changed, place, most)
        return bytes(changed)


def ttl_at(reply: bytes, place: int) -> int:
    """Return a TTL; one with the highest bit is none (RFC 2181, 8)."""
    found: int = struct.unpack_from(">I", reply, place)[0]
    return 0 if found >> 31 else found


def name_at(raw: bytes, offset: int) -> "tuple[bytes, int]":
    """Return the name at an offset in lower case, and where it ends. Raises ValueError."""
    parts: list[bytes] = []
    size, end, least = 0, 0, offset
    while True:
        if offset >= len(raw):
            raise ValueError("a name ends behind the message")
        length = raw[offset]
        if length & _POINTER == _POINTER:
            end = end or offset + 2
            offset = int.from_bytes(raw[offset : offset + 2], "big") & 0x3FFF
            if offset >= least:  # only back: so it comes to an end
                raise ValueError("a name leads forward")
            least = offset
            continue
        size += length + 1
        if length & _POINTER or size > _NAME or offset + length >= len(raw):
            raise ValueError("no name")
        parts.append(raw[offset : offset + length + 1])
        offset += length + 1
        if not length:
            return b"".join(parts).lower(), end or offset
