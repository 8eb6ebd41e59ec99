"""The host's parameters that bridged networks depend on, read and written in /proc/sys/net.

Which is that of the network namespace of the calling thread. Source: the kernel's
networking/ip-sysctl.rst.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct

_ROOT = "/proc/sys/net"
_SIOCGIFHWADDR = 0x8927


def forward(*, ipv6: bool) -> None:
    """Have the host pass packets on between its interfaces. Raises OSError.

    An interface that has its routes from routers' announcements takes no more of them once the
    host is a router itself, unless it is told to. Those that are made later are not told to: who
    is behind them, a machine or a container of somebody else's, is no router of this host.
    """
    _set("ipv4/ip_forward", "1")
    if ipv6 and _get("ipv6/conf/all/forwarding") != "1":
        for name in sorted(os.listdir(f"{_ROOT}/ipv6/conf")):
            if name not in ("all", "default", "lo") and _get(f"ipv6/conf/{name}/accept_ra") == "1":
                _set(f"ipv6/conf/{name}/accept_ra", "2")
        _set("ipv6/conf/all/forwarding", "1")


def of_bridge(name: str, *, ipv6: bool) -> None:
    """Set what a new bridge of ours is to do with IPv6: nothing, or no announcements."""
    folder = f"ipv6/conf/{name}"
    if not os.path.isdir(f"{_ROOT}/{folder}"):
        if ipv6:
            raise OSError(95, "the kernel has no IPv6")
        return
    _set(f"{folder}/accept_ra", "0")
    _set(f"{folder}/disable_ipv6", "0" if ipv6 else "1")


def route_loopback(name: str) -> None:
    """Let packets to and from 127.0.0.0/8 through a bridge: ports published there need it."""
    _set(f"ipv4/conf/{name}/route_localnet", "1")


def bridge_filters(*, ipv6: bool = False) -> bool:
    """Return whether packets between ports of a bridge go through the rules of IP."""
    try:
        return _get(f"bridge/bridge-nf-call-ip{'6' if ipv6 else ''}tables") == "1"
    except FileNotFoundError:
        return False


def ethernet_address(name: str) -> str:
    """Return the Ethernet address of an interface (netdevice(7)). Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        request = struct.pack("16s24x", os.fsencode(name))
        answer = fcntl.ioctl(sock, _SIOCGIFHWADDR, request)
    return ":".join(f"{byte:02x}" for byte in answer[18:24])


def _get(path: str) -> str:
    with open(f"{_ROOT}/{path}", encoding="ascii") as file:
        return file.read().strip()


def _set(path: str, value: str) -> None:
    """Write a parameter that has another value: writing needs more rights than reading."""
    if _get(path) == value:
        return
    with open(f"{_ROOT}/{path}", "w", encoding="ascii") as file:
        file.write(value)
