"""rtnetlink(7): messages for links, addresses, routes, neighbours and token buckets.

Functions return messages for ``Netlink.ask``; nothing here has a policy or talks to the
kernel, except where it says "return what is there". Formats: rtnetlink(7), linux/rtnetlink.h,
linux/if_link.h, linux/pkt_sched.h.
"""

import _socket
import errno
import struct
import time

from knarr.kernel import netlink as nl

AF_BRIDGE = 7
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH = 28, 29
RTM_NEWQDISC = 36
GROUP_LINK, GROUP_ROUTE4, GROUP_ROUTE6 = 1, 7, 11

IFF_UP = 0x1
IFF_RUNNING = 0x40
IFF_LOOPBACK = 0x8
_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _LINKINFO = 1, 3, 4, 5, 10, 18
_NET_NS_PID, _PROTINFO, _IFALIAS, _AF_SPEC, _NET_NS_FD = 19, 12, 20, 26, 28
_INFO_KIND, _INFO_DATA = 1, 2
_VETH_INFO_PEER = 1
# In the bridge's part of a port (IFLA_PROTINFO): linux/if_link.h.
_BRPORT_MODE, _BRPORT_ISOLATED = 4, 33
_BR_FORWARD_DELAY, _BR_STP_STATE, _BR_MCAST_SNOOPING = 1, 5, 23
_MACVLAN_MODE = 1
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
_IPVLAN_MODE, _IPVLAN_FLAGS = 1, 2
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
IFA_F_NODAD = 0x02
_IFA_RT_PRIORITY = 9
_IFA_KEPT = (_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_RT_PRIORITY)
_IFA_F_PERMANENT = 0x80
_IFA_F_KEPT = 0x02 | 0x100 | 0x200  # NODAD, MANAGETEMPADDR, NOPREFIXROUTE
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 5, 6, 15
_RT_TABLE_MAIN, _RT_TABLE_LOCAL = 254, 255
_RTPROT_STATIC = 4
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_RTN_UNICAST, _RTN_LOCAL = 1, 2
_TC_H_ROOT = 0xFFFFFFFF
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_TBF_PARMS, _TCA_TBF_RATE64, _TCA_TBF_BURST = 1, 4, 6

_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_TCMSG = struct.Struct("=BxxxiIII")
_RATESPEC = struct.Struct("=BBHhHI")
NAME_LIMIT = 15  # IFNAMSIZ without the zero byte


def index_of(name: str) -> int:
    """Return the number of an interface. Raises OSError: ENODEV when there is none."""
    try:
        return _socket.if_nametoindex(name)
    except OSError as error:
        raise OSError(errno.ENODEV, f"no interface {name}") from error


def mac(value: str) -> bytes:
    """Return the six bytes of an Ethernet address. Raises ValueError."""
    raw = bytes.fromhex(value.replace(":", "").replace("-", ""))
    if len(raw) != 6:
        raise ValueError(f"{value}: no Ethernet address")
    return raw


def packed(address: str) -> "tuple[int, bytes]":
    """Return family and bytes of an address. Raises OSError when it is none."""
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    return family, _socket.inet_pton(family, address)


def _ifinfo(index: int = 0, *, up: bool = False, family: int = 0) -> bytes:
    return _IFINFO.pack(family, 0, index, IFF_UP if up else 0, IFF_UP if up else 0)


def _common(name: str, address: str, mtu: int) -> bytes:
    found = nl.text(_IFNAME, name)
    if address:
        found += nl.attr(_ADDRESS, mac(address))
    if mtu:
        found += nl.u32(_MTU, mtu)
    return found


_NEW = nl.NLM_F_CREATE | nl.NLM_F_EXCL


def new_bridge(name: str, *, address: str = "", mtu: int = 0, snooping: bool = True) -> bytearray:
    """Return the message that makes a bridge without spanning tree, and has it up."""
    data = nl.u32(_BR_FORWARD_DELAY, 0) + nl.u32(_BR_STP_STATE, 0)
    data += nl.u8(_BR_MCAST_SNOOPING, 1 if snooping else 0)
    info = nl.nested(_LINKINFO, nl.text(_INFO_KIND, "bridge"), nl.nested(_INFO_DATA, data))
    return nl.message(RTM_NEWLINK, _NEW, _ifinfo(up=True), _common(name, address, mtu), info)


def new_veth(
    name: str,
    peer: str,
    *,
    netns_fd: int = -1,
    address: str = "",
    mtu: int = 0,
    master: int = 0,
) -> bytearray:
    """Return the message that makes a pair: one end here and up, the other in a namespace.

    netns_fd: of the peer's network namespace, -1 for this one. address: the peer's.
    master: number of the bridge that the end here is a port of.
    """
    other = _ifinfo() + _common(peer, address, mtu)
    if netns_fd >= 0:
        other += nl.u32(_NET_NS_FD, netns_fd)
    data = nl.nested(_INFO_DATA, nl.nested(_VETH_INFO_PEER, other))
    info = nl.nested(_LINKINFO, nl.text(_INFO_KIND, "veth"), data)
    own = _common(name, "", mtu) + (nl.u32(_MASTER, master) if master else b"")
    return nl.message(RTM_NEWLINK, _NEW, _ifinfo(up=True), own, info)


def new_macvlan(
    name: str, parent: int, *, mode: str = "bridge", netns_fd: int = -1, address: str = "",
    mtu: int = 0,
) -> bytearray:  # fmt: skip
    """Return the message that makes a macvlan interface of a parent's number."""
    data = nl.u32(_MACVLAN_MODE, MACVLAN_MODES[mode])
    return _beside("macvlan", data, _common(name, address, mtu), parent, netns_fd)


def new_ipvlan(
    name: str, parent: int, *, mode: str = "l2", flag: str = "bridge", netns_fd: int = -1,
    mtu: int = 0,
) -> bytearray:  # fmt: skip
    """Return the message that makes an ipvlan interface of a parent's number.

    Mode and flag become those of all interfaces of that parent.
    """
    data = nl.u16(_IPVLAN_MODE, IPVLAN_MODES[mode]) + nl.u16(_IPVLAN_FLAGS, IPVLAN_FLAGS[flag])
    return _beside("ipvlan", data, _common(name, "", mtu), parent, netns_fd)


def _beside(kind: str, data: bytes, own: bytes, parent: int, netns_fd: int) -> bytearray:
    own += nl.u32(_LINK, parent)
    if netns_fd >= 0:
        own += nl.u32(_NET_NS_FD, netns_fd)
    info = nl.nested(_LINKINFO, nl.text(_INFO_KIND, kind), nl.nested(_INFO_DATA, data))
    return nl.message(RTM_NEWLINK, _NEW, _ifinfo(), own, info)


def delete_link(name: str) -> bytearray:
    """Return the message that removes an interface, and its peer if it is one of a pair."""
    return nl.message(RTM_DELLINK, 0, _ifinfo(), nl.text(_IFNAME, name))


def set_up(index: int, *, up: bool = True) -> bytearray:
    """Return the message that has an interface up, or down."""
    header = _IFINFO.pack(0, 0, index, IFF_UP if up else 0, IFF_UP)
    return nl.message(RTM_NEWLINK, 0, header)


class Link:
    """An interface as it is, without what it loses on its way to another namespace.

    addresses: of each lasting one with global scope the header's fields and the attributes.
    """

    __slots__ = ("addresses", "name", "up")

    def __init__(self, name: str, up: bool, addresses: "list[tuple[int, int, int, bytes]]") -> None:
        self.name = name
        self.up = up
        self.addresses = addresses


def describe(sock: nl.Netlink, index: int, name: str) -> Link:
    """Return what there is to be said of an interface. Raises OSError."""
    _, body = sock.get(nl.message(RTM_GETLINK, 0, _ifinfo(index)))
    up = bool(_IFINFO.unpack_from(body)[3] & IFF_UP)
    found = []
    for kind, body in sock.dump(nl.message(RTM_GETADDR, 0, _IFADDR.pack(0, 0, 0, 0, 0))):
        if kind != RTM_NEWADDR:
            continue
        family, prefix, flags, scope, owner = _IFADDR.unpack_from(body)
        fields = nl.attrs(body, _IFADDR.size)
        flags = int.from_bytes(fields.get(_IFA_FLAGS, bytes((flags,))), "little")
        if owner != index or scope != _SCOPE_UNIVERSE or not flags & _IFA_F_PERMANENT:
            continue
        kept = [nl.attr(which, fields[which]) for which in _IFA_KEPT if which in fields]
        found.append((family, prefix, flags & _IFA_F_KEPT, b"".join(kept)))
    return Link(name, up, found)


def move(index: int, name: str, netns_fd: int) -> bytearray:
    """Return the message that moves an interface to another namespace, under a name there.

    A ``%d`` in it becomes a number. It is down afterwards, and has no addresses.
    """
    attributes = nl.text(_IFNAME, name) + nl.u32(_NET_NS_FD, netns_fd)
    return nl.message(RTM_NEWLINK, 0, _ifinfo(index), attributes)


def restore(index: int, link: Link, *, up: bool) -> "list[bytearray]":
    """Return the messages that give an interface its addresses again, and have it up."""
    messages = [
        nl.message(RTM_NEWADDR, _NEW, _IFADDR.pack(family, prefix, 0, _SCOPE_UNIVERSE, index),
                   attributes, nl.u32(_IFA_FLAGS, flags))
        for family, prefix, flags, attributes in link.addresses
    ]  # fmt: skip
    return [*messages, set_up(index)] if up else messages


def set_address(index: int, address: bytes) -> bytearray:
    """Return the message that gives an interface an Ethernet address, which then stays."""
    return nl.message(RTM_NEWLINK, 0, _ifinfo(index), nl.attr(_ADDRESS, address))


def set_master(index: int, master: int) -> bytearray:
    """Return the message that makes an interface a port of a bridge; of none with 0."""
    return nl.message(RTM_NEWLINK, 0, _ifinfo(index), nl.u32(_MASTER, master))


def set_port(index: int, *, isolated: bool = False, hairpin: bool = False) -> bytearray:
    """Return the message that says how a bridge treats a port.

    isolated: it reaches only ports that are not (Linux 4.18). hairpin: what comes from it may
    go back to it.
    """
    data = nl.u8(_BRPORT_MODE, int(hairpin)) + nl.u8(_BRPORT_ISOLATED, int(isolated))
    header = _ifinfo(index, family=AF_BRIDGE)
    return nl.message(RTM_SETLINK, 0, header, nl.nested(_PROTINFO, data))


def new_address(index: int, address: str, prefix: int, *, nodad: bool = True) -> bytearray:
    """Return the message that gives an interface an address.

    nodad: an IPv6 address is used at once, without asking whether somebody has it.
    """
    family, raw = packed(address)
    body = nl.attr(_IFA_LOCAL, raw) + nl.attr(_IFA_ADDRESS, raw)
    if family == _socket.AF_INET and prefix < 31:
        rest = (1 << 32 - prefix) - 1
        last = int.from_bytes(raw, "big") | rest
        body += nl.attr(_IFA_BROADCAST, last.to_bytes(4, "big"))
    flags = IFA_F_NODAD if nodad and family == _socket.AF_INET6 else 0
    header = _IFADDR.pack(family, prefix, flags, _SCOPE_UNIVERSE, index)
    return nl.message(RTM_NEWADDR, _NEW, header, body)


def new_route(
    index: int,
    gateway: str = "",
    destination: str = "",
    prefix: int = 0,
    *,
    family: int = 0,
    replace: bool = False,
) -> bytearray:
    """Return the message that adds a route over an interface; the default one as it is.

    Without a gateway the destination is on the link. family: of a default route without gateway,
    where that is not said by 0.0.0.0 or :: as gateway.
    replace: it takes the place of one to the same destination.
    """
    body = nl.u32(_RTA_OIF, index)
    if gateway:
        family, raw = packed(gateway)
        if any(raw):
            body += nl.attr(_RTA_GATEWAY, raw)
        else:
            gateway = ""
    if destination:
        family, raw = packed(destination)
        body += nl.attr(_RTA_DST, raw)
    scope = _SCOPE_UNIVERSE if gateway or family == _socket.AF_INET6 else _SCOPE_LINK
    header = _ROUTE.pack(
        family, prefix, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, scope, _RTN_UNICAST, 0
    )
    flags = nl.NLM_F_CREATE | nl.NLM_F_REPLACE if replace else _NEW
    return nl.message(RTM_NEWROUTE, flags, header, body)


def loopback_route(index: int) -> bytearray:
    """Return the message with which answers to ::1 that come over an interface are taken in.

    For IPv6 that is what the setting route_localnet is for IPv4: the kernel looks for ::1 only
    among the routes of the interface. It throws away packets that are sent to ::1 from outside
    before it looks; what is left are those that a translation of addresses has changed.
    """
    body = nl.u32(_RTA_OIF, index) + nl.attr(_RTA_DST, bytes(15) + b"\1")
    body += nl.u32(_RTA_PRIORITY, 4096 + index)  # of its own, and after that of lo
    header = _ROUTE.pack(
        _socket.AF_INET6, 128, 0, 0, _RT_TABLE_LOCAL, _RTPROT_STATIC, _SCOPE_HOST, _RTN_LOCAL, 0
    )
    return nl.message(RTM_NEWROUTE, nl.NLM_F_CREATE | nl.NLM_F_REPLACE, header, body)


def new_bucket(index: int, rate: int, *, latency: int = 50_000, mtu: int = 1514) -> bytearray:
    """Return the message that limits what leaves an interface to a token bucket (tc-tbf(8)).

    rate: bytes a second. latency: µs that a packet may wait. mtu: the largest packet, bytes;
    the bucket holds at least 4 ms of the rate and what one segmentation offload may hand down.
    """
    burst = max(rate // 250, 65536 + mtu)
    limit = burst + rate * latency // 1_000_000
    ticks = _ticks(burst * 1_000_000_000 // max(rate, 1))
    spec = _RATESPEC.pack(0, 1, 0, -1, 0, min(rate, 0xFFFFFFFF))
    parms = spec + _RATESPEC.pack(0, 0, 0, 0, 0, 0) + struct.pack("=III", limit, ticks, 0)
    options = nl.attr(_TCA_TBF_PARMS, parms) + nl.u32(_TCA_TBF_BURST, burst)
    if rate > 0xFFFFFFFF:
        options += nl.u64(_TCA_TBF_RATE64, rate)
    body = nl.text(_TCA_KIND, "tbf") + nl.nested(_TCA_OPTIONS, options)
    header = _TCMSG.pack(0, index, 0, _TC_H_ROOT, 0)
    return nl.message(RTM_NEWQDISC, nl.NLM_F_CREATE | nl.NLM_F_REPLACE, header, body)


def _ticks(ns: int) -> int:
    """Return a time in the packet scheduler's ticks of 64 ns."""
    return min(ns >> 6, 0xFFFFFFFF)


def await_running(sock: nl.Netlink, indexes: "set[int]", seconds: float) -> bool:
    """Wait until interfaces that were just set up can send; return whether they can.

    The kernel notes that there is a carrier a moment later, and until then throws away what is
    sent, so that a connection begins with a lost packet and a second of waiting.
    sock: with ``GROUP_LINK``, made before they were set up.
    """
    waiting = {index for index in indexes if not is_running(sock, index)}
    end = time.monotonic() + seconds
    while waiting:
        sock.sock.settimeout(max(0.001, end - time.monotonic()))
        try:
            told = sock.receive()
        except TimeoutError:
            return False
        finally:
            sock.sock.settimeout(None)
        for kind, body in told:
            _, _, index, flags, _ = _IFINFO.unpack_from(body)
            if kind == RTM_NEWLINK and flags & IFF_RUNNING:
                waiting.discard(index)
    return True


def is_running(sock: nl.Netlink, index: int) -> bool:
    """Return whether an interface is up and has a carrier. Raises OSError."""
    _, body = sock.get(nl.message(RTM_GETLINK, 0, _ifinfo(index)))
    flags: int = _IFINFO.unpack_from(body)[3]
    return bool(flags & IFF_RUNNING)


def routes(sock: nl.Netlink, family: int) -> "list[tuple[bytes, int, int]]":
    """Return destination, prefix and interface of each route of the main table that is there."""
    found = []
    header = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    size = 16 if family == _socket.AF_INET6 else 4
    for kind, body in sock.dump(nl.message(RTM_GETROUTE, 0, header)):
        if kind != RTM_NEWROUTE:
            continue
        _, prefix, _, _, table, _, _, sort, _ = _ROUTE.unpack_from(body)
        fields = nl.attrs(body, _ROUTE.size)
        table = int.from_bytes(fields.get(_RTA_TABLE, bytes((table,))), "little")
        if sort == _RTN_UNICAST and table == _RT_TABLE_MAIN:
            index = int.from_bytes(fields.get(_RTA_OIF, b""), "little")
            found.append((fields.get(_RTA_DST, bytes(size)), prefix, index))
    return found


def addresses(sock: nl.Netlink) -> "list[tuple[int, int, bytes, int]]":
    """Return family, interface, address and prefix of each address that is there."""
    found = []
    for kind, body in sock.dump(nl.message(RTM_GETADDR, 0, _IFADDR.pack(0, 0, 0, 0, 0))):
        if kind != RTM_NEWADDR:
            continue
        family, prefix, _, _, index = _IFADDR.unpack_from(body)
        fields = nl.attrs(body, _IFADDR.size)
        found.append((family, index, fields.get(_IFA_LOCAL) or fields[_IFA_ADDRESS], prefix))
    return found


def names(sock: nl.Netlink) -> "dict[str, int]":
    """Return name -> number of each interface that is there."""
    found = {}
    for kind, body in sock.dump(nl.message(RTM_GETLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0))):
        if kind == RTM_NEWLINK:
            index = _IFINFO.unpack_from(body)[2]
            name = nl.attrs(body, _IFINFO.size)[_IFNAME]
            found[name.rstrip(b"\0").decode(errors="replace")] = index
    return found


def address_of(sock: nl.Netlink, index: int) -> bytes:
    """Return the Ethernet address of an interface. Raises OSError."""
    _, body = sock.get(nl.message(RTM_GETLINK, 0, _ifinfo(index)))
    return nl.attrs(body, _IFINFO.size).get(_ADDRESS, b"")


def kind_of(sock: nl.Netlink, name: str) -> str:
    """Return what sort of interface it is ("bridge", "veth"), "" for hardware. Raises OSError."""
    request = nl.message(RTM_GETLINK, 0, _ifinfo(), nl.text(_IFNAME, name))
    fields = nl.attrs(sock.get(request)[1], _IFINFO.size)
    info = nl.attrs(fields.get(_LINKINFO, b""))
    return info.get(_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace")
