"""What rtnetlink(7) shows of the links and routes of a network namespace, for who looks at it.

Not on the start path; ``links`` is what makes them. Formats: linux/if_link.h, linux/rtnetlink.h.
"""

import _socket
import struct

from knarr.kernel import netlink as nl
from knarr.kernel.links import IFF_UP, RTM_GETLINK, RTM_GETROUTE, RTM_NEWLINK, RTM_NEWROUTE

_IFINFO = struct.Struct("=BxHiII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _LINKINFO, _LINK_NETNSID = 1, 3, 4, 5, 10, 18, 37
_INFO_KIND = 1
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_RT_TABLE_MAIN, _RTN_UNICAST = 254, 1


class Interface:
    """One interface. link: number of what it is joined to: of a veth its peer, of a macvlan its
    parent, 0 without; elsewhere: whether that is in another network namespace. master: number of
    the bridge whose port it is.
    """

    __slots__ = ("address", "elsewhere", "index", "kind", "link", "master", "mtu", "name", "up")

    def __init__(self, body: bytes) -> None:
        _, _, self.index, flags, _ = _IFINFO.unpack_from(body)
        fields = nl.attrs(body, _IFINFO.size)
        info = nl.attrs(fields.get(_LINKINFO, b""))
        self.name = _text(fields[_IFNAME])
        self.kind = _text(info.get(_INFO_KIND, b""))
        self.address = fields.get(_ADDRESS, b"").hex(":")
        self.mtu = _number(fields.get(_MTU, b""))
        self.link = _number(fields.get(_LINK, b""))
        self.master = _number(fields.get(_MASTER, b""))
        self.elsewhere = _LINK_NETNSID in fields
        self.up = bool(flags & IFF_UP)


def interfaces(sock: nl.Netlink) -> list[Interface]:
    """Return the interfaces that there are, by their numbers."""
    header = _IFINFO.pack(0, 0, 0, 0, 0)
    dump = sock.dump(nl.message(RTM_GETLINK, 0, header))
    found = [Interface(body) for kind, body in dump if kind == RTM_NEWLINK]
    return sorted(found, key=lambda each: each.index)


def routes(sock: nl.Netlink) -> "list[tuple[str, str, int]]":
    """Return destination, gateway ("" without) and interface of the main table's routes.

    Both families; the destination is ``default`` or ADDRESS/PREFIX.
    """
    found = []
    for family in (_socket.AF_INET, _socket.AF_INET6):
        header = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for kind, body in sock.dump(nl.message(RTM_GETROUTE, 0, header)):
            _, prefix, _, _, table, _, _, sort, _ = _ROUTE.unpack_from(body)
            fields = nl.attrs(body, _ROUTE.size)
            table = _number(fields.get(_RTA_TABLE, b"")) or table
            if kind != RTM_NEWROUTE or sort != _RTN_UNICAST or table != _RT_TABLE_MAIN:
                continue
            to, via = fields.get(_RTA_DST), fields.get(_RTA_GATEWAY)
            found.append(
                (
                    f"{_socket.inet_ntop(family, to)}/{prefix}" if to else "default",
                    _socket.inet_ntop(family, via) if via else "",
                    _number(fields.get(_RTA_OIF, b"")),
                )
            )
    return found


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")
