"""Bridges with namespaces in place of containers, and who reaches whom.

What gets through is waited for. That nothing does is not concluded from silence: all packets of a
test are on one processor, whose queue is a queue (see :func:`drained`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

import pytest

from knarr.kernel import links
from knarr.kernel.netlink import Netlink
from knarr.networks.firewall import Firewall, NetworkRules
from tests.support.nethost import (
    HOST4,
    HOST6,
    OUTSIDE4,
    OUTSIDE6,
    UPLINK,
    NetHost,
    inside,
    new_namespace,
)
from tests.support.waiting import PATIENCE, wait_until

TABLE = "knarr"
ANY = {4: "0.0.0.0", 6: "::"}
PORT = 4000
HOST = {4: HOST4, 6: HOST6}
OUTSIDE = {4: OUTSIDE4, 6: OUTSIDE6}
VERSIONS = pytest.mark.parametrize("version", [4, 6])
PROTOCOLS = pytest.mark.parametrize("proto", ["tcp", "udp"])
FIRST = NetworkRules("a" * 64, "br-a", ["10.0.1.0/24"], ["fd00:a::/64"])
SECOND = NetworkRules("b" * 64, "br-b", ["10.0.2.0/24"], ["fd00:b::/64"])
# Each interface that a packet is handed on by has it queued once more. A call over two hosts with
# the questions for the neighbours' addresses before it, and its answers, is about twenty.
_HOPS = 64
_RTF_LOCAL = 0x80000000
_SIOCGIFHWADDR = 0x8927


def setting(name: str, value: str) -> None:
    """Write a parameter of the network namespace that the caller is in."""
    Path(f"/proc/sys/net/{name}").write_text(value, encoding="ascii")


def bridge_filters(wanted: bool) -> None:
    """Have bridged packets pass the rules of the namespace, or not."""
    for name in ("iptables", "ip6tables"):
        try:
            setting(f"bridge/bridge-nf-call-{name}", "1" if wanted else "0")
        except FileNotFoundError:  # no br_netfilter
            if wanted:
                pytest.skip("needs br_netfilter")


@dataclass
class Box:
    """A namespace in place of a container; address: its address by IP version."""

    namespace: int
    address: dict[int, str]
    gateway: dict[int, str]
    bridge: str

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with inside(self.namespace):
            yield


@dataclass
class Bridges:
    """Makes networks and boxes on a host; closes what it opened."""

    host: NetHost
    firewall: Firewall = field(default_factory=lambda: Firewall(TABLE))
    hairpin: bool = False
    _ends: int = 0
    _open: list[int] = field(default_factory=list)
    _processors: set[int] = field(default_factory=lambda: os.sched_getaffinity(0))

    def __post_init__(self) -> None:
        os.sched_setaffinity(0, {min(self._processors)})

    def network(self, rules: NetworkRules) -> NetworkRules:
        """Make the bridge of a network, whose gateways are the first addresses of its subnets."""
        with Netlink() as sock:
            sock.ask(links.new_bridge(rules.bridge))
            index = links.index_of(rules.bridge)
            for subnet in (*rules.subnets4, *rules.subnets6):
                net = ip_network(subnet)
                sock.ask(links.new_address(index, str(net[1]), net.prefixlen))
            sock.ask(links.loopback_route(index))
        wait_until(addresses_work)
        self.firewall.add_network(rules)
        setting(f"ipv4/conf/{rules.bridge}/route_localnet", "1")
        return rules

    @property
    def last(self) -> str:
        """The end on the host of the last box's interface."""
        return f"kn{self._ends}"

    def box(self, network: NetworkRules, number: int) -> Box:
        """Make a namespace on a network that has the subnets' addresses of that number."""
        namespace = new_namespace()
        self._open.append(namespace)
        self._ends += 1
        name = self.last
        subnets = [ip_network(each) for each in (*network.subnets4, *network.subnets6)]
        found = Box(
            namespace,
            {net.version: str(net[number]) for net in subnets},
            {net.version: str(net[1]) for net in subnets},
            network.bridge,
        )
        with Netlink(groups=(links.GROUP_LINK,)) as sock:
            bridge = links.index_of(network.bridge)
            sock.ask(links.new_veth(name, "eth0", netns_fd=namespace, master=bridge))
            end = links.index_of(name)
            sock.ask(links.set_port(end, isolated=not network.icc, hairpin=self.hairpin))
            _set_up(found, subnets, number)
            assert links.await_running(sock, {bridge, end}, PATIENCE)
        return found

    def close(self) -> None:
        os.sched_setaffinity(0, self._processors)
        for fd in self._open:
            os.close(fd)


def made(nethost: NetHost, *, filters: bool) -> Bridges:
    """Return networks to be on a host that is ready for them."""
    bridge_filters(filters)
    setting("ipv4/ip_forward", "1")
    setting("ipv6/conf/all/forwarding", "1")
    with Netlink(groups=(links.GROUP_LINK,)) as sock:
        assert links.await_running(sock, {links.index_of(UPLINK)}, PATIENCE)
    for namespace in (nethost.host, nethost.outside):
        with inside(namespace):
            wait_until(addresses_work)
    return Bridges(nethost, hairpin=filters)


def _set_up(box: Box, subnets: list[IPv4Network | IPv6Network], number: int) -> None:
    with box(), Netlink(groups=(links.GROUP_LINK,)) as sock:
        index = links.index_of("eth0")
        sock.ask(links.set_up(1), links.set_up(index))
        for net in subnets:
            sock.ask(links.new_address(index, str(net[number]), net.prefixlen))
            sock.ask(links.new_route(index, str(net[1])))
        assert links.await_running(sock, {index}, PATIENCE)
        wait_until(addresses_work)


def addresses_work() -> bool:
    """Tell whether packets to all IPv6 addresses of the namespace are taken in.

    The kernel has the route of a new address made by a worker, a moment after it has said yes.
    """
    routes = Path("/proc/thread-self/net/ipv6_route").read_text(encoding="ascii").split("\n")
    local = {line[:32] for line in routes if line and int(line.split()[8], 16) & _RTF_LOCAL}
    addresses = Path("/proc/thread-self/net/if_inet6").read_text(encoding="ascii").split("\n")
    return {line[:32] for line in addresses if line} <= local


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


KINDS = {
    "tcp": (socket.SOCK_STREAM, 0),
    "udp": (socket.SOCK_DGRAM, 0),
    "sctp": (socket.SOCK_STREAM, 132),
}


@contextlib.contextmanager
def serving(
    where: int, address: str, proto: str = "tcp", port: int = PORT
) -> Iterator[socket.socket]:
    """A server's socket in a namespace."""
    kind, number = KINDS[proto]
    with inside(where):
        server = socket.socket(family_of(address), kind, number)
    with server:
        if server.family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        if proto != "udp":
            server.listen()
        server.setblocking(False)
        yield server


def peer(
    where: int, server: socket.socket, address: str, port: int = PORT, proto: str = "tcp"
) -> str:
    """Return whom the server sees when it is called from a namespace and answers."""
    with _caller(where, address, proto) as client:
        client.settimeout(PATIENCE)
        client.connect((address, port))
        client.send(b"hello")
        assert select.select([server], [], [], PATIENCE)[0]
        if proto == "udp":
            said, (seen, *rest) = server.recvfrom(100)
            server.sendto(said, (seen, *rest))
        else:
            taken, (seen, *_) = server.accept()
            with taken:
                taken.settimeout(PATIENCE)
                taken.sendall(taken.recv(100))
        assert client.recv(100) == b"hello"
    return str(seen)


def cut_off(
    where: int, server: socket.socket, address: str, port: int = PORT, proto: str = "tcp"
) -> bool:
    """Tell whether a call from a namespace does not get to the server, or no answer comes back."""
    with _caller(where, address, proto) as client:
        client.setblocking(False)
        try:
            client.connect((address, port))
            client.send(b"hello")
        except BlockingIOError:
            pass  # on its way
        except OSError:
            return True  # it is told so: refused, or no route
        drained()
        return not select.select([server], [], [], 0)[0]


@contextlib.contextmanager
def _caller(where: int, address: str, proto: str) -> Iterator[socket.socket]:
    kind, number = KINDS[proto]
    with inside(where):
        client = socket.socket(family_of(address), kind, number)
    with client:
        yield client


def drained() -> None:
    """Return once each packet that this thread has sent is where it gets to.

    The thread is on one processor. Interfaces of pairs, and the loopback interface, put what
    is sent at the end of the sender's processor's one queue; whoever forwards it, or answers,
    does so while it is taken out, so that is queued again. What is sent after it and has come
    therefore says that it has got one interface further.
    """
    assert len(os.sched_getaffinity(0)) == 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mark:
        mark.bind(("127.0.0.1", 0))
        mark.settimeout(PATIENCE)
        mark.connect(mark.getsockname())
        for number in range(_HOPS):
            mark.send(bytes([number]))
            assert mark.recv(1) == bytes([number])


def datagram(source: str, destination: str, port: int, payload: bytes = b"forged") -> bytes:
    """Return a packet as somebody sends it who makes packets himself."""
    if ":" in source:
        ends = (
            socket.inet_pton(socket.AF_INET6, source),
            socket.inet_pton(socket.AF_INET6, destination),
        )
        size = 8 + len(payload)
        pseudo = b"".join(ends) + struct.pack(">II", size, 17)
        udp = struct.pack(">HHHH", 999, port, size, 0) + payload
        total = checksum(pseudo + udp) or 0xFFFF
        head = struct.pack(">IHBB", 6 << 28, size, 17, 64) + b"".join(ends)
        return head + udp[:6] + struct.pack(">H", total) + udp[8:]
    udp = struct.pack(">HHHH", 999, port, 8 + len(payload), 0) + payload
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
        socket.inet_aton(source), socket.inet_aton(destination),
    )  # fmt: skip
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + udp


def checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def forge(where: int, interface: str, to: bytes, packet: bytes) -> None:
    """Put a packet on an interface of a namespace, whatever routes say."""
    kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    with inside(where), socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as raw:
        raw.sendto(packet, (interface, kind, 0, 0, to))


def hears(server: socket.socket) -> bool:
    """Tell whether datagrams that this thread has sent have come; takes all there are."""
    drained()
    heard = False
    while select.select([server], [], [], 0)[0]:
        server.recv(100)
        heard = True
    return heard


def mac_of(interface: str) -> bytes:
    """Return the Ethernet address of an interface."""
    with socket.socket() as any_socket:
        answer = fcntl.ioctl(any_socket, _SIOCGIFHWADDR, struct.pack("16s24x", interface.encode()))
    return answer[18:24]
