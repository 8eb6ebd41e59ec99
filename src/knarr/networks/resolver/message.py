"""DNS messages as bytes (RFC 1035, 6891): what is asked, and what we answer to it.

Names stay in the form of the wire, length and label after length and label. In lower case that
is also the key of our tables: no label is longer than 63 bytes, so ``lower`` leaves lengths alone.
Whatever a container or a server sent is looked at with bounds; what makes no sense is answered
FORMERR or dropped, never raised past ``parse``.
"""

import struct

A, PTR, MX, AAAA, OPT, ANY = 1, 12, 15, 28, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
HEADER = 12
# Bytes: of a datagram without EDNS, of any message, of a query that we take.
PLAIN = 512
LARGEST = 0xFFFF
QUERY = 4096
TTL = 600  # seconds, as Docker's

_QR, _TC, _RD, _RA, _CD = 0x8000, 0x0200, 0x0100, 0x0080, 0x0010
_OPCODE = 0x7800
_NAME = 255  # bytes of a name, with the zero at its end
_LABEL = 63
_HEAD = struct.Struct(">HHHHHH")
_PAIR = struct.Struct(">HH")
_RECORD = struct.Struct(">HHIH")
_POINTER = b"\xc0\x0c"  # the question's name
_ROOT = b"\0"
_RCODE = 0x000F


class Malformed(ValueError):
    """A packet that is no query. answer: bytes to send back, or nothing."""

    def __init__(self, answer: bytes = b"") -> None:
        super().__init__("not a query")
        self.answer = answer


class Query:
    """What a client asks: one question.

    raw: the whole message. key: the name in lower case. size: of the largest answer in a
    datagram that the client takes (bytes). edns: whether it speaks EDNS. foreign: it is about
    another class than the Internet's, where we have nothing.
    """

    __slots__ = ("edns", "flags", "foreign", "key", "kind", "number", "question", "raw", "size")

    def __init__(self, raw: bytes, end: int, kind: int, edns: int, *, foreign: bool) -> None:
        self.raw = raw
        self.number = raw[:2]
        self.flags = int.from_bytes(raw[2:4], "big")
        self.question = raw[HEADER:end]
        self.key = raw[HEADER : end - 4].lower()
        self.kind = kind
        self.edns = edns >= 0
        self.foreign = foreign
        self.size = max(edns, PLAIN)


def parse(raw: bytes) -> Query:
    """Return the query in a packet. Raises Malformed."""
    if len(raw) < HEADER:
        raise Malformed
    number, flags, questions, answers, authorities, additional = _HEAD.unpack_from(raw)
    if flags & _QR:
        raise Malformed  # to answer an answer would go on for ever
    if flags & _OPCODE:
        raise Malformed(_bare(number, flags, NOTIMP))
    end = _name_end(raw, HEADER)
    if questions != 1 or answers or end < 0 or end + 4 > len(raw):
        raise Malformed(_bare(number, flags, FORMERR))
    kind, group = _PAIR.unpack_from(raw, end)
    end += 4
    edns = -1
    if additional and not authorities:
        edns = _edns(raw, end, additional)
    return Query(raw, end, kind, edns, foreign=group != IN)


def _name_end(raw: bytes, offset: int) -> int:
    """Return where the name at ``offset`` ends; -1 when it is none, or a compressed one."""
    start = offset
    while offset < len(raw):
        length = raw[offset]
        offset += 1
        if not length:
            return offset if offset - start <= _NAME else -1
        if length > _LABEL:
            return -1
        offset += length
    return -1


def _edns(raw: bytes, offset: int, records: int) -> int:
    """Return the size in the OPT record among the additional ones, -1 when there is none."""
    for _ in range(min(records, 4)):  # it is the only one in practice; a signature may follow
        end = _name_end(raw, offset)
        if end < 0 or end + _RECORD.size > len(raw):
            return -1
        kind, size, _, length = _RECORD.unpack_from(raw, end)
        if kind == OPT and raw[offset] == 0:
            return int(size)
        offset = end + _RECORD.size + length
    return -1


def _bare(number: int, flags: int, code: int) -> bytes:
    """Return an answer that repeats nothing of the question, which made no sense."""
    kept = flags & (_OPCODE | _RD)
    return _HEAD.pack(number, _QR | kept | _RA | code, 0, 0, 0, 0)


def answer(
    query: Query, records: "list[bytes]", limit: int, code: int = NOERROR, *, why: bytes = b""
) -> bytes:
    """Return an answer with records that ``record`` made; those that do not fit are left out.

    limit: bytes. Where some are left out the client is told so, and may ask again by TCP.
    why: text for a client with EDNS: it is blocked here (RFC 8914).
    """
    kept = query.flags & (_RD | _CD)
    flags = _QR | kept | _RA | code
    extra = (_blocked(why) if why else _OWN_OPT) if query.edns else b""
    size = HEADER + len(query.question) + len(extra)
    if size + sum(map(len, records)) > limit:
        flags |= _TC
        fitting = []
        for each in records:
            size += len(each)
            if size > limit:
                break
            fitting.append(each)
        records = fitting
    head = _COUNTS.pack(flags, 1, len(records), 0, 1 if extra else 0)
    return b"".join((query.number, head, query.question, *records, extra))


def _blocked(why: bytes) -> bytes:
    option = _OPTION.pack(_EXTENDED_ERROR, 2 + len(why), _BLOCKED) + why
    return _ROOT + _RECORD.pack(OPT, QUERY, 0, len(option)) + option


def record(kind: int, data: bytes, ttl: int = TTL) -> bytes:
    """Return a record of the name that was asked for."""
    return _POINTER + _RECORD.pack(kind, IN, ttl, len(data)) + data


def failed(query: Query, code: int = SERVFAIL) -> bytes:
    """Return an answer without records."""
    return answer(query, [], LARGEST, code)


def belongs(reply: bytes, query: Query, number: bytes) -> bool:
    """Return whether a server's packet is the answer to a query that had ``number`` on its way."""
    end = HEADER + len(query.question)
    if len(reply) < HEADER or reply[:2] != number or not reply[2] & 0x80:
        return False
    # A server that could not read the question may leave it out.
    if reply[4:6] == b"\0\0":
        return reply[3] & _RCODE != NOERROR
    return (
        reply[4:6] == b"\0\x01"
        and reply[HEADER : end - 4].lower() == query.key
        and reply[end - 4 : end] == query.question[-4:]
    )


def code(reply: bytes) -> int:
    """Return the response code of a message."""
    return reply[3] & _RCODE


def wire(name: str) -> "bytes | None":
    """Return a name in the form of the wire and in lower case, None for what cannot be one."""
    labels = name.rstrip(".").encode("utf-8", "surrogateescape").lower().split(b".")
    if not all(0 < len(label) <= _LABEL for label in labels):
        return None
    packed = b"".join(bytes((len(label),)) + label for label in labels) + _ROOT
    return packed if len(packed) <= _NAME else None


def is_single(key: bytes) -> bool:
    """Return whether a name has one label, or none."""
    return len(key) <= key[0] + 2


def reverse(packed: bytes) -> bytes:
    """Return the name under which an address of 4 or 16 bytes is looked up (RFC 1035, 3596)."""
    if len(packed) == 4:
        words = [b"%d" % byte for byte in reversed(packed)]
        zone = b"\x07in-addr\x04arpa\0"
    else:
        words = [b"%x" % half for byte in reversed(packed) for half in (byte & 15, byte >> 4)]
        zone = b"\x03ip6\x04arpa\0"
    return b"".join(bytes((len(word),)) + word for word in words) + zone


_COUNTS = struct.Struct(">HHHHH")
_OPTION = struct.Struct(">HHH")
_EXTENDED_ERROR, _BLOCKED = 15, 15
_OWN_OPT = _ROOT + _RECORD.pack(OPT, QUERY, 0, 0)
