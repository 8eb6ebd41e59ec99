"""Entries of the connection tracking table, found and deleted over ctnetlink.

A translation is decided once, for the first packet of a connection, and kept in its entry.
Who changes translations therefore has to delete the entries that rest on the old ones: a
datagram's sender that never pauses would else reach the old destination for ever.
``link`` is a socket of netfilter's protocol, in the network namespace that is meant.
Formats: linux/netfilter/nfnetlink_conntrack.h.
"""

import _socket
import errno

from knarr.kernel.netlink import (
    Netlink,
    NetlinkError,
    attr,
    attrs,
    be16,
    message,
    nested,
    u8,
    u32,
)

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK
_ORIGINAL, _REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
# bits of what a filter compares (since Linux 5.8; before, everything is listed). Addresses are
# given for IPv4 alone: of IPv6, Linux 6.18 and older list those that differ
_SOURCE, _DESTINATION, _PROTOCOL, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 8, 16, 32
_QUESTIONS = 16  # the most ports that are asked for one by one
_WITHOUT = (errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT)


class Entry:
    """A connection: addresses and ports as its first packet had them and as replies have them."""

    __slots__ = ("_raw", "original", "protocol", "reply")

    def __init__(self, body: bytes) -> None:
        self._raw = attrs(body, 4)
        self.protocol, self.original = _tuple(self._raw.get(_ORIGINAL, b""))
        _, self.reply = _tuple(self._raw.get(_REPLY, b""))

    @property
    def translated(self) -> bool:
        """Whether replies are not simply the other way round."""
        source, destination, source_port, port = self.original
        return self.reply != (destination, source, port, source_port)

    def delete(self, link: Netlink, family: int) -> None:
        """Delete it; nothing happens when it is gone by now."""
        parts = [nested(_ORIGINAL, self._raw[_ORIGINAL]), attr(_ID, self._raw[_ID])]
        if _ZONE in self._raw:
            parts.append(attr(_ZONE, self._raw[_ZONE]))
        try:
            link.ask(_message(_DELETE, family, *parts))
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise


def _tuple(nest: bytes) -> "tuple[int, tuple[bytes, bytes, bytes, bytes]]":
    """Return protocol, and source, destination, source port and destination port."""
    parts = attrs(nest)
    address, ports = attrs(parts.get(1, b"")), attrs(parts.get(2, b""))
    source = address.get(1) or address.get(3, b"")
    destination = address.get(2) or address.get(4, b"")
    protocol = int.from_bytes(ports.get(1, b""), "big")
    return protocol, (source, destination, ports.get(2, b""), ports.get(3, b""))


def _message(kind: int, family: int, *parts: bytes) -> bytearray:
    return message(kind, 0, bytes((family, 0, 0, 0)), *parts)


def count() -> int:
    """Return how many connections the calling process's network namespace tracks.

    A list costs 3 ms of the processor even when it is empty: the kernel looks at every bucket.
    """
    try:
        with open("/proc/sys/net/netfilter/nf_conntrack_count", "rb") as file:
            return int(file.read())
    except FileNotFoundError:
        return 0


def ended_at(link: Netlink, address: bytes, ports: "set[tuple[int, int]]") -> "list[Entry]":
    """Return the connections whose packets went to this address in the end.

    ports: protocol and port of those that matter.
    """
    requests = []
    if len(address) == 4:
        wanted = nested(_REPLY, nested(1, attr(1, address)))
        requests.append(_request(_socket.AF_INET, wanted, reply=_SOURCE))
    elif len(ports) > _QUESTIONS:
        requests.append(_message(_GET, _socket.AF_INET6))
    else:
        for protocol, port in ports:
            wanted = nested(_REPLY, nested(2, u8(1, protocol), be16(2, port)))
            bits = _PROTOCOL | _SOURCE_PORT
            requests.append(_request(_socket.AF_INET6, wanted, reply=bits))
    raw = {(protocol, port.to_bytes(2, "big")) for protocol, port in ports}
    return [
        each
        for request in requests
        for each in _entries(link, request)
        if each.reply[0] == address and (each.protocol, each.reply[2]) in raw
    ]


def asked_for(
    link: Netlink, family: int, protocol: int, port: int, address: bytes = b""
) -> "list[Entry]":
    """Return the connections that were begun to this port (of one address)."""
    bits = _PROTOCOL | _DESTINATION_PORT
    parts = [nested(2, u8(1, protocol), be16(3, port))]
    if len(address) == 4:
        bits |= _DESTINATION
        parts.insert(0, nested(1, attr(2, address)))
    request = _request(family, nested(_ORIGINAL, *parts), original=bits)
    wanted = (protocol, port.to_bytes(2, "big"))
    return [
        each
        for each in _entries(link, request)
        if (each.protocol, each.original[3]) == wanted and address in (b"", each.original[1])
    ]


def _request(family: int, wanted: bytes, *, original: int = 0, reply: int = 0) -> bytearray:
    """Return the request for a list of what agrees with a tuple in the things that bits tell."""
    return _message(_GET, family, wanted, nested(_FILTER, u32(1, original), u32(2, reply)))


def _entries(link: Netlink, request: bytearray) -> "list[Entry]":
    """Return what is listed; nothing where the kernel tracks connections for nobody."""
    try:
        return [Entry(body) for _, body in link.dump(request)]
    except NetlinkError as error:
        if error.errno in _WITHOUT:
            return []
        raise
