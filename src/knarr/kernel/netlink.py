"""netlink(7): messages, attributes, batches of requests, dumps and notifications.

A message is bytes that nobody has to send: ``message`` makes it, ``Netlink.ask`` gives a
whole batch to the kernel at once and raises what the kernel says against the first that it
refuses. Formats: netlink(7), linux/netlink.h.
"""

import _socket
import errno
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

AF_NETLINK = 16
ROUTE = 0
NETFILTER = 12

NLM_F_REQUEST = 0x1
NLM_F_MULTI = 0x2
NLM_F_ACK = 0x4
NLM_F_ROOT = 0x100
NLM_F_MATCH = 0x200
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
_NLM_F_DUMP_INTR = 0x10
_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200

NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 1, 2, 3, 4
_NLMSGERR_ATTR_MSG = 1
NLA_F_NESTED = 0x8000
_NLA_TYPE = 0x3FFF

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_RCVBUFFORCE = 33
_HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_BUFFER = 1 << 16
_AGAIN = 8  # dumps that something changed in between, before we give up


class NetlinkError(OSError):
    """The kernel refused a request. index: of it in the batch; reason: what the kernel says."""

    def __init__(self, number: int, index: int, reason: str = "") -> None:
        text = os.strerror(number)
        super().__init__(number, f"{text}: {reason}" if reason else text)
        self.index = index
        self.reason = reason


def message(kind: int, flags: int, *parts: "bytes | bytearray") -> bytearray:
    """Return a request of that kind; its acknowledgement and number are added when it is sent."""
    body = b"".join(parts)
    return bytearray(
        _HEADER.pack(_HEADER.size + len(body), kind, flags | NLM_F_REQUEST, 0, 0) + body
    )


def attr(kind: int, data: "bytes | bytearray") -> bytes:
    """Return an attribute, padded to four bytes."""
    size = _ATTR.size + len(data)
    if size > 0xFFFF:
        raise OSError(errno.EMSGSIZE, f"a netlink attribute of {len(data)} bytes")
    return _ATTR.pack(size, kind) + data + bytes(-size % 4)


def nested(kind: int, *attributes: "bytes | bytearray") -> bytes:
    """Return an attribute that consists of others."""
    return attr(kind | NLA_F_NESTED, b"".join(attributes))


def u8(kind: int, value: int) -> bytes:
    """Return an attribute of one byte."""
    return attr(kind, bytes((value,)))


def u16(kind: int, value: int) -> bytes:
    """Return an attribute of two bytes in the machine's order."""
    return attr(kind, struct.pack("=H", value))


def u32(kind: int, value: int) -> bytes:
    """Return an attribute of four bytes in the machine's order."""
    return attr(kind, struct.pack("=I", value))


def u64(kind: int, value: int) -> bytes:
    """Return an attribute of eight bytes in the machine's order."""
    return attr(kind, struct.pack("=Q", value))


def be16(kind: int, value: int) -> bytes:
    """Return an attribute of two bytes in the network's order."""
    return attr(kind, struct.pack(">H", value))


def be32(kind: int, value: int) -> bytes:
    """Return an attribute of four bytes in the network's order."""
    return attr(kind, struct.pack(">I", value))


def be64(kind: int, value: int) -> bytes:
    """Return an attribute of eight bytes in the network's order."""
    return attr(kind, struct.pack(">Q", value))


def text(kind: int, value: str) -> bytes:
    """Return an attribute that is a string with a zero byte at its end."""
    return attr(kind, os.fsencode(value) + b"\0")


def attrs(buffer: "bytes | memoryview", offset: int = 0) -> "dict[int, bytes]":
    """Return type -> payload of the attributes in a buffer; of a type that repeats, the last."""
    return dict(each_attr(buffer, offset))


def each_attr(buffer: "bytes | memoryview", offset: int = 0) -> "Iterator[tuple[int, bytes]]":
    """Yield type and payload of each attribute in a buffer."""
    while offset + _ATTR.size <= len(buffer):
        size, kind = _ATTR.unpack_from(buffer, offset)
        if size < _ATTR.size or offset + size > len(buffer):
            return
        yield kind & _NLA_TYPE, bytes(buffer[offset + _ATTR.size : offset + size])
        offset += (size + 3) & ~3


class Netlink:
    """A netlink socket of the calling thread's network namespace, close-on-exec.

    groups: numbers of the multicast groups whose notifications it gets.
    Raises OSError: where a protocol is not in the kernel, EPROTONOSUPPORT.
    """

    __slots__ = ("_number", "sock")

    def __init__(self, protocol: int = ROUTE, *, groups: "tuple[int, ...]" = ()) -> None:
        kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
        self.sock = _socket.socket(AF_NETLINK, kind, protocol)
        self._number = 1
        try:
            for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
                self._try(_SOL_NETLINK, option, 1)
            self._try(_socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
            self.sock.bind((0, 0))
            for group in groups:
                self.sock.setsockopt(_SOL_NETLINK, 1, group)  # NETLINK_ADD_MEMBERSHIP
        except OSError:
            self.sock.close()
            raise

    def _try(self, level: int, option: int, value: int) -> None:
        try:
            self.sock.setsockopt(level, option, value)
        except OSError:
            return  # an older kernel, or no permission: answers are less telling, that is all

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, *messages: "bytes | bytearray") -> None:
        """Send requests in one batch and wait for the kernel's word about each.

        Raises NetlinkError for the first that was refused. Those after it were carried out all
        the same: the kernel takes a batch of its routing family one by one.
        """
        first = self._number
        self._send(messages, NLM_F_ACK)
        waiting = len(messages)
        failure: NetlinkError | None = None
        while waiting:
            for kind, flags, number, body in self._receive():
                if kind != NLMSG_ERROR or not first <= number < first + len(messages):
                    continue
                waiting -= 1
                code = -_ERROR.unpack_from(body)[0]
                if code and failure is None:
                    failure = NetlinkError(code, number - first, reason_of(body, flags))
        if failure is not None:
            raise failure

    def dump(self, request: "bytes | bytearray") -> "list[tuple[int, bytes]]":
        """Return kind and body of each part of the answer to a dump.

        Raises NetlinkError; EAGAIN when things change faster than they can be listed.
        """
        for _ in range(_AGAIN):
            found, whole = self._dump(request)
            if whole:
                return found
        raise NetlinkError(errno.EAGAIN, 0)

    def _dump(self, request: "bytes | bytearray") -> "tuple[list[tuple[int, bytes]], bool]":
        number = self._number
        self._send((request,), NLM_F_DUMP)
        found: list[tuple[int, bytes]] = []
        whole = True
        while True:
            for kind, flags, answered, body in self._receive():
                if answered != number:
                    continue
                whole = whole and not flags & _NLM_F_DUMP_INTR
                if kind == NLMSG_ERROR:
                    raise NetlinkError(-_ERROR.unpack_from(body)[0], 0, reason_of(body, flags))
                if kind == NLMSG_DONE:
                    return found, whole
                found.append((kind, body))

    def get(self, request: "bytes | bytearray") -> "tuple[int, bytes]":
        """Return kind and body of the one answer to a question. Raises NetlinkError."""
        number = self._number
        self._send((request,), 0)
        while True:
            for kind, flags, answered, body in self._receive():
                if answered != number:
                    continue
                if kind == NLMSG_ERROR:
                    raise NetlinkError(-_ERROR.unpack_from(body)[0], 0, reason_of(body, flags))
                return kind, body

    def receive(self) -> "list[tuple[int, bytes]]":
        """Return kind and body of notifications that have come; waits for some.

        Raises OSError: ENOBUFS when some were lost.
        """
        return [(kind, body) for kind, _, _, body in self._receive()]

    def _send(self, messages: "tuple[bytes | bytearray, ...]", flags: int) -> None:
        batch = bytearray()
        for each in messages:
            size, kind, own, _, _ = _HEADER.unpack_from(each)
            batch += _HEADER.pack(size, kind, own | flags, self._number, 0) + each[_HEADER.size :]
            batch += bytes(-size % 4)
            self._number = self._number + 1 & 0x7FFFFFFF
        self.sock.sendto(batch, (0, 0))

    def _receive(self) -> "Iterator[tuple[int, int, int, bytes]]":
        """Yield kind, flags, number and body of the messages of one packet of the kernel's."""
        while True:
            packet, _, _, sender = self.sock.recvmsg(_BUFFER)
            if sender[0] == 0:  # whoever else writes to us is not the kernel
                break
        offset = 0
        while offset + _HEADER.size <= len(packet):
            size, kind, flags, number, _ = _HEADER.unpack_from(packet, offset)
            if size < _HEADER.size or offset + size > len(packet):
                return
            if kind == NLMSG_OVERRUN:
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
            if kind != NLMSG_NOOP:
                yield kind, flags, number, packet[offset + _HEADER.size : offset + size]
            offset += (size + 3) & ~3


def reason_of(body: bytes, flags: int) -> str:
    """Return what the kernel says in words in an NLMSG_ERROR, if anything."""
    if not flags & _NLM_F_ACK_TLVS:
        return ""
    offset = _ERROR.size + _HEADER.size
    if not flags & _NLM_F_CAPPED:
        offset = _ERROR.size + ((_HEADER.unpack_from(body, _ERROR.size)[0] + 3) & ~3)
    said = attrs(body, offset).get(_NLMSGERR_ATTR_MSG, b"")
    return said.rstrip(b"\0").decode(errors="replace")
