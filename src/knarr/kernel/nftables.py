"""nf_tables over netlink: tables, chains, rules, sets and maps, changed in atomic batches.

Functions make messages; ``Nftables.commit`` has the kernel carry out all of them or none.
Neither nft(8) nor its library is needed. Expressions of rules are in kernel/nfexpr.py.
Formats: linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h.
"""

import errno
import struct
import sys

from knarr.kernel.netlink import (
    NETFILTER,
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLMSG_ERROR,
    Netlink,
    NetlinkError,
    attr,
    attrs,
    be32,
    be64,
    each_attr,
    message,
    nested,
    reason_of,
    text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

INET, IPV4, IPV6 = 1, 2, 10

_SUBSYSTEM, _GROUP = 10 << 8, 7  # NFNL_SUBSYS_NFTABLES, NFNLGRP_NFTABLES
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN, _GETCHAIN, _NEWRULE, _GETRULE = 3, 4, 6, 7
_NEWSET, _NEWSETELEM, _GETSETELEM, _DELSETELEM = 9, 12, 13, 14
_GETGEN = 16

# types of keys and values as nft(8) numbers them (it keeps six bits of each part of a
# concatenation) and their length in bytes; to the kernel only the length matters
ADDRESS4, ADDRESS6, PROTOCOL, PORT, INTERFACE = (7, 4), (8, 16), (12, 1), (13, 2), (41, 16)
MARK = (19, 4)
_VERDICT_TYPE = 0xFFFFFF00
_SET_INTERVAL, _SET_MAP, _SET_TIMEOUT, _SET_CONCAT = 0x4, 0x8, 0x10, 0x80
INTERVAL_END = 1

PREROUTING, FORWARD, OUTPUT, POSTROUTING = 0, 2, 3, 4
DROP, ACCEPT, JUMP, GOTO, RETURN = 0, 1, -3, -4, -5

_HOST_ORDER = struct.pack("=BBI", 0, 4, 1)  # of the key's bytes, for nft(8) to show a name

_LIST_ELEM, _SO_SNDBUFFORCE = 1, 32
_PER_MESSAGE = 256  # elements; an attribute has at most 64 KiB
_SMALL = 64 * 1024  # bytes of a batch that any socket takes


def _message(kind: int, family: int, flags: int, *attributes: bytes) -> bytearray:
    return message(_SUBSYSTEM | kind, flags, bytes((family, 0, 0, 0)), *attributes)


def table(family: int, name: str, *, new: bool = False) -> bytearray:
    """Make a table; when it is there nothing happens, or with new, EEXIST."""
    return _message(_NEWTABLE, family, NLM_F_CREATE | (NLM_F_EXCL if new else 0), text(1, name))


def delete_table(family: int, name: str) -> bytearray:
    """Delete a table with all that is in it; then the socket's end takes 10 ms."""
    return _message(_DELTABLE, family, 0, text(1, name))


def chain(
    family: int, owner: str, name: str, base: "tuple[str, int, int] | None" = None
) -> bytearray:
    """Make a chain of the table ``owner``.

    base: kind ("filter", "nat"), hook and priority of a chain that sees packets by itself.
    Its policy is to accept: what it does not know is none of its business.
    """
    attributes = [text(1, owner), text(3, name)]
    if base is not None:
        kind, hook, priority = base
        attributes.append(nested(4, be32(1, hook), attr(2, struct.pack(">i", priority))))
        attributes += [be32(5, ACCEPT), text(7, kind)]
    return _message(_NEWCHAIN, family, NLM_F_CREATE, *attributes)


def rule(family: int, owner: str, chain_name: str, *expressions: bytes) -> bytearray:
    """Append a rule to a chain."""
    parts = nested(4, *(nested(_LIST_ELEM, each) for each in expressions))
    flags = NLM_F_CREATE | NLM_F_APPEND
    return _message(_NEWRULE, family, flags, text(1, owner), text(2, chain_name), parts)


def verdict(code: int, target: str = "") -> bytes:
    """Return the data of a verdict; target: chain of a JUMP or GOTO."""
    parts = [attr(1, struct.pack(">i", code))]
    if target:
        parts.append(text(2, target))
    return nested(2, *parts)


def value(data: bytes) -> bytes:
    """Return the data of a value."""
    return attr(1, data)


class Set:
    """What a set or map is made of.

    key, data: types of the parts; data is empty for a set and None for a verdict map.
    interval: an element is a range (of two keys) instead of a key. timed: it may end by itself.
    """

    __slots__ = ("data", "interval", "key", "name", "timed")

    def __init__(
        self,
        name: str,
        key: "tuple[tuple[int, int], ...]",
        data: "tuple[tuple[int, int], ...] | None" = (),
        *,
        interval: bool = False,
        timed: bool = False,
    ) -> None:
        self.name, self.key, self.data, self.interval = name, key, data, interval
        self.timed = timed

    def packed(self, *parts: bytes) -> bytes:
        """Return a key: each part padded to four bytes, an interface's name to sixteen."""
        return pack(
            *(part.ljust(size, b"\0") for part, (_, size) in zip(parts, self.key, strict=True))
        )


def pack(*parts: bytes) -> bytes:
    """Return the concatenation of a key's or a value's parts, each padded to four bytes."""
    return b"".join([part + bytes(-len(part) % 4) for part in parts])


def _type(parts: "tuple[tuple[int, int], ...]") -> int:
    number = 0
    for kind, _ in parts:
        number = number << 6 | kind
    return number


def _length(parts: "tuple[tuple[int, int], ...]") -> int:
    if len(parts) == 1:
        return parts[0][1]
    return sum(size + 3 & ~3 for _, size in parts)


def new_set(family: int, owner: str, what: Set) -> bytearray:
    """Make a set or map."""
    flags = (_SET_INTERVAL if what.interval else 0) | (_SET_TIMEOUT if what.timed else 0)
    attributes = [text(1, owner), text(2, what.name)]
    kind: list[bytes] = []
    if what.data is None:
        flags |= _SET_MAP
        kind = [be32(6, _VERDICT_TYPE), be32(7, 0)]
    elif what.data:
        flags |= _SET_MAP
        kind = [be32(6, _type(what.data)), be32(7, _length(what.data))]
    description: list[bytes] = []
    if what.interval and len(what.key) > 1:  # else the kernel has no interest in the parts
        flags |= _SET_CONCAT
        fields = (nested(_LIST_ELEM, be32(1, size)) for _, size in what.key)
        description.append(nested(2, *fields))
    attributes += [be32(3, flags), be32(4, _type(what.key)), be32(5, _length(what.key)), *kind]
    if what.key in ((INTERFACE,), (MARK,)):
        attributes.append(attr(13, _HOST_ORDER))
    attributes += [nested(9, *description), be32(10, 1)]  # an id that we do not use has to be there
    return _message(_NEWSET, family, NLM_F_CREATE, *attributes)


def element(
    key: bytes, *, data: bytes = b"", end: bytes = b"", flags: int = 0, comment: str = "",
    timeout: int = 0,
) -> bytes:  # fmt: skip
    """Return an element of a set or map.

    data: ``value`` or ``verdict``; end: last key of a range, where keys are concatenated;
    flags: INTERVAL_END for the first key after a range, where they are not.
    comment: shown by nft(8). timeout: ms after which it ends; 0 is never.
    """
    parts = [nested(1, value(key))]
    if data:
        parts.append(nested(2, data))
    if flags:
        parts.append(be32(3, flags))
    if timeout:
        parts.append(be64(4, timeout))
    if comment:
        raw = comment.encode() + b"\0"
        parts.append(attr(6, bytes((0, len(raw))) + raw))
    if end:
        parts.append(nested(10, value(end)))
    return nested(_LIST_ELEM, *parts)


def add(family: int, owner: str, set_name: str, elements: "list[bytes]") -> "list[bytearray]":
    """Add elements. EEXIST or EBUSY when a key is there with another value."""
    return _elements(_NEWSETELEM, NLM_F_CREATE, family, owner, set_name, elements)


def delete(family: int, owner: str, set_name: str, elements: "list[bytes]") -> "list[bytearray]":
    """Delete elements by their keys. ENOENT when one is not there."""
    return _elements(_DELSETELEM, 0, family, owner, set_name, elements)


def _elements(
    kind: int, flags: int, family: int, owner: str, set_name: str, elements: "list[bytes]"
) -> "list[bytearray]":
    return [
        _message(
            kind,
            family,
            flags,
            text(1, owner),
            text(2, set_name),
            nested(3, *elements[first : first + _PER_MESSAGE]),
        )
        for first in range(0, len(elements), _PER_MESSAGE)
    ]


class Element:
    """An element as the kernel tells it; value is empty without one, and for verdicts."""

    __slots__ = ("comment", "end", "flags", "key", "value")

    def __init__(self, raw: bytes) -> None:
        parts = attrs(raw)
        self.key = _data(parts.get(1, b""))
        self.value = _data(parts.get(2, b""))
        self.flags = int.from_bytes(parts.get(3, b""), "big")
        self.end = _data(parts.get(10, b""))
        said = parts.get(6, b"")
        self.comment = said[2 : 2 + said[1]].rstrip(b"\0").decode() if said[:1] == b"\0" else ""


def _data(nest: bytes) -> bytes:
    return attrs(nest).get(1, b"")


class Nftables(Netlink):
    """A socket for nf_tables of the calling thread's network namespace.

    Raises OSError: EPROTONOSUPPORT where the kernel has no netfilter at all.
    """

    __slots__ = ()

    def __init__(self, *, watch: bool = False) -> None:
        try:
            super().__init__(NETFILTER, groups=(_GROUP,) if watch else ())
        except OSError as error:
            if error.errno != errno.EPROTONOSUPPORT:
                raise
            raise NetlinkError(error.errno, -1, _ABSENT) from None

    def commit(
        self, messages: "Iterable[bytes | bytearray]", *, generation: int | None = None
    ) -> None:
        """Have all messages carried out at once, or none.

        generation: that of ``generation()`` which the messages rest upon.
        Raises NetlinkError, index is that of the message: ERESTART when there is another
        generation by now, EPERM, EOPNOTSUPP where the kernel has no nf_tables.
        """
        body = list(messages)
        if not body:
            return
        resource = struct.pack(">BBH", 0, 0, _SUBSYSTEM >> 8)
        given = b"" if generation is None else be32(1, generation)
        last = bytearray(body[-1])
        struct.pack_into("=H", last, 6, struct.unpack_from("=H", last, 6)[0] | NLM_F_ACK)
        batch = (
            message(_BATCH_BEGIN, 0, resource, given),
            *body[:-1],
            last,
            message(_BATCH_END, 0, resource),
        )
        size = sum(map(len, batch))
        if size > _SMALL:
            self.sock.setsockopt(1, _SO_SNDBUFFORCE, 2 * size + _SMALL)
        first = self._number
        self._send(batch, 0)
        self._await(first, first + len(body))

    def _await(self, first: int, last: int) -> None:
        """Wait for the word about a batch, which comes with its last message or its head."""
        failure: NetlinkError | None = None
        while True:
            for kind, flags, number, body in self._receive():
                if kind != NLMSG_ERROR or not first <= number <= last:
                    continue
                code = -int.from_bytes(body[:4], sys.byteorder, signed=True)
                if code and failure is None:
                    reason = _REASONS.get(code, "") if number == first else reason_of(body, flags)
                    failure = NetlinkError(code, number - first - 1, reason)
                if number in (first, last):
                    if failure is not None:
                        raise failure
                    return

    def dump(self, request: "bytes | bytearray") -> "list[tuple[int, bytes]]":
        """As of every netlink socket; EOPNOTSUPP where the kernel has no nf_tables."""
        try:
            return super().dump(request)
        except NetlinkError as error:
            raise _absent(error) from None

    def get(self, request: "bytes | bytearray") -> "tuple[int, bytes]":
        """As of every netlink socket; EOPNOTSUPP where the kernel has no nf_tables."""
        try:
            return super().get(request)
        except NetlinkError as error:
            raise _absent(error) from None

    def generation(self) -> int:
        """Return the number of the rule set as it is now."""
        _, body = self.get(_message(_GETGEN, 0, 0))
        return int.from_bytes(attrs(body, 4)[1], "big")

    def find(self, family: int, owner: str, set_name: str, key: bytes) -> "Element | None":
        """Return the element with that key, None when it, its set or table is not there."""
        request = _elements(_GETSETELEM, 0, family, owner, set_name, [element(key)])[0]
        try:
            _, body = self.get(request)
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return next(iter(_listed(body)), None)

    def list_elements(self, family: int, owner: str, set_name: str) -> "list[Element]":
        """Return all elements of a set. Raises NetlinkError: ENOENT."""
        request = _message(_GETSETELEM, family, 0, text(1, owner), text(2, set_name))
        return [each for _, body in self.dump(request) for each in _listed(body)]

    def has_table(self, family: int, name: str) -> bool:
        """Tell whether a table is there, whatever is in it."""
        try:
            self.get(_message(_GETTABLE, family, 0, text(1, name)))
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def rules(self, family: int, owner: str, name: str) -> int:
        """Return how many rules a chain has."""
        request = _message(_GETRULE, family, 0, text(1, owner), text(2, name))
        return len([kind for kind, body in self.dump(request) if attrs(body, 4).get(2)])

    def uses(self, family: int, owner: str, name: str) -> int:
        """Return how many rules and elements are in a chain or lead to it; sooner than rules().

        -1 when there is no such chain.
        """
        try:
            _, body = self.get(_message(_GETCHAIN, family, 0, text(1, owner), text(3, name)))
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return -1
            raise
        return int.from_bytes(attrs(body, 4)[6], "big")

    def dropping(self, hook: int) -> "list[tuple[int, str, str]]":
        """Return family, table and chain of those at a hook whose policy is to drop."""
        found: list[tuple[int, str, str]] = []
        for _, body in self.dump(_message(_GETCHAIN, 0, 0)):
            parts = attrs(body, 4)
            place = attrs(parts.get(4, b"")).get(1, b"")
            if place and int.from_bytes(place, "big") == hook and parts.get(5) == bytes(4):
                owner, name = (parts[each].rstrip(b"\0").decode() for each in (1, 3))
                found.append((body[0], owner, name))
        return found


def _listed(body: bytes) -> "list[Element]":
    return [Element(raw) for _, raw in each_attr(attrs(body, 4).get(3, b""))]


def _absent(error: NetlinkError) -> NetlinkError:
    """Return the error of a question with which nothing can be wrong but that nobody answers."""
    if error.errno == errno.EINVAL:
        return NetlinkError(errno.EOPNOTSUPP, error.index, _ABSENT)
    return error


_ABSENT = "this kernel has no nf_tables (module nf_tables, CONFIG_NF_TABLES)"
_REASONS = {
    errno.EOPNOTSUPP: _ABSENT,
    errno.EPERM: "changes of nf_tables need CAP_NET_ADMIN in the network namespace",
}
