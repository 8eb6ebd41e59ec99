"""What a limited container's packets reach, whatever it sends: with real sockets and bridges."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from knarr.kernel import links, traffic
from knarr.kernel import nftables as nft
from knarr.kernel.netlink import Netlink
from knarr.kernel.nftables import INET, Nftables
from knarr.networks.firewall import NetworkRules
from knarr.runtime import egress, portmap
from tests.support.bridges import (
    FIRST,
    HOST,
    OUTSIDE,
    PORT,
    PROTOCOLS,
    SECOND,
    TABLE,
    VERSIONS,
    Box,
    Bridges,
    checksum,
    cut_off,
    datagram,
    drained,
    family_of,
    forge,
    hears,
    mac_of,
    made,
    peer,
    serving,
    setting,
)
from tests.support.nethost import HOST4, HOST6, OUTSIDE4, OUTSIDE6, NetHost, inside
from tests.support.waiting import PATIENCE, wait_until

NUMBERS = {"tcp": 6, "udp": 17}

MARK = egress.PREFIX | 0x102
CONTAINER = "c" * 64

pytestmark = pytest.mark.vm


@pytest.fixture(params=[True, False], ids=["bridge-nf", "no-bridge-nf"])
def bridges(request: pytest.FixtureRequest, nethost: NetHost) -> Iterator[Bridges]:
    found = made(nethost, filters=request.param)
    try:
        yield found
    finally:
        found.close()


def plan(*networks: list[object], mark: int = MARK, container: str = CONTAINER) -> egress.Plan:
    return {"container": container, "table": TABLE, "mark": mark, "networks": list(networks)}


def limited(bridges: Bridges, network: NetworkRules, number: int, *networks: list[object]) -> Box:
    """Return a box that reaches these networks only."""
    box = bridges.box(network, number)
    egress.allow(plan(*networks))
    fence(network, box, bridges.last)
    return box


def fence(network: NetworkRules, box: Box, interface: str) -> None:
    with Netlink() as sock:
        end, bridge = links.index_of(interface), links.index_of(network.bridge)
        own = [f"{box.address[4]}/24", f"{box.address[6]}/64"]
        egress.fence(sock, end, bridge, MARK, own)


def everything(version: int) -> list[object]:
    return [
        *(("0.0.0.0", "255.255.255.255") if version == 4 else ("::", "f" * 4 + ":ffff" * 7)),
        0,
        0,
    ]


def name(version: int, *ports: tuple[int, int], seconds: int = 60) -> None:
    """Have the outside world open as the answer for a name opens it."""
    address = socket.inet_pton(family_of(OUTSIDE[version]), OUTSIDE[version])
    with Nftables() as link:
        link.commit(egress.opened(TABLE, MARK, [address], ports, seconds))


def refused(box: Box, address: str, port: int = PORT, proto: str = "tcp") -> bool:
    """Tell whether whoever calls is told at once that he may not."""
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    with box(), socket.socket(family_of(address), kind) as client:
        client.settimeout(PATIENCE)
        try:
            client.connect((address, port))
            client.send(b"hello")
            client.recv(10)
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


@VERSIONS
@PROTOCOLS
def test_nothing_is_reached_that_was_not_allowed(
    bridges: Bridges, nethost: NetHost, version: int, proto: str
) -> None:
    network = bridges.network(FIRST)
    free = bridges.box(network, 3)
    box = limited(bridges, network, 2)
    with serving(nethost.outside, OUTSIDE[version], proto) as server:
        assert cut_off(box.namespace, server, OUTSIDE[version], proto=proto)
        assert refused(box, OUTSIDE[version], proto=proto)
        assert peer(free.namespace, server, OUTSIDE[version], proto=proto) == HOST[version]
    for own in (HOST[version], box.gateway[version]):
        with serving(nethost.host, own, proto) as server:
            assert cut_off(box.namespace, server, own, proto=proto)
            assert refused(box, own, proto=proto)
            assert peer(free.namespace, server, own, proto=proto)


@VERSIONS
@PROTOCOLS
def test_a_network_is_reached_and_its_neighbour_is_not(
    bridges: Bridges, nethost: NetHost, version: int, proto: str
) -> None:
    there = OUTSIDE[version]
    box = limited(bridges, bridges.network(FIRST), 2, [there, there, 0, 0])
    with serving(nethost.outside, there, proto) as server:
        assert peer(box.namespace, server, there, proto=proto) == HOST[version]
    assert refused(box, HOST[version], proto=proto)


@VERSIONS
def test_a_port_is_that_of_one_protocol(bridges: Bridges, nethost: NetHost, version: int) -> None:
    there = OUTSIDE[version]
    box = limited(bridges, bridges.network(FIRST), 2, [there, there, NUMBERS["udp"], PORT])
    with serving(nethost.outside, there, "udp") as server:
        assert peer(box.namespace, server, there, proto="udp") == HOST[version]
    with serving(nethost.outside, there) as server:
        assert cut_off(box.namespace, server, there)
    name(version, (NUMBERS["tcp"], PORT))
    with serving(nethost.outside, there) as server:
        assert peer(box.namespace, server, there) == HOST[version]
    with serving(nethost.outside, there, port=PORT + 1) as server:
        assert cut_off(box.namespace, server, there, port=PORT + 1)


@VERSIONS
@PROTOCOLS
def test_a_name_opens_its_addresses_for_a_time_and_connections_outlive_it(
    bridges: Bridges, nethost: NetHost, version: int, proto: str
) -> None:
    there = OUTSIDE[version]
    box = limited(bridges, bridges.network(FIRST), 2)
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    with serving(nethost.outside, there, proto) as server, box():
        client = socket.socket(family_of(there), kind)
        client.settimeout(PATIENCE)
        server.settimeout(PATIENCE)
        with inside(nethost.host):
            name(version, seconds=1)
        with client:
            client.connect((there, PORT))
            client.send(b"one")
            if proto == "tcp":
                end, _ = server.accept()
                end.settimeout(PATIENCE)
                answer: Callable[[bytes], object] = end.sendall
            else:
                end, answerer = server, server.recvfrom(10)[1]
                answer = lambda data: server.sendto(data, answerer)  # noqa: E731
            answer(b"two")
            assert client.recv(10) == b"two"
            with inside(nethost.host):
                wait_until(lambda: not _is_open(version))
            client.send(b"three")
            assert b"three" in end.recv(10)
            answer(b"four")
            assert client.recv(10) == b"four"
            if proto == "tcp":
                end.close()
    assert refused(box, there, proto=proto)


def _is_open(version: int) -> bool:
    sets = egress.NAMES4 if version == 4 else egress.NAMES6
    with Nftables() as link:
        return bool(link.list_elements(INET, TABLE, sets.name))


def test_an_open_address_gets_more_time_by_being_opened_again(bridges: Bridges) -> None:
    limited(bridges, bridges.network(FIRST), 2)
    name(4, seconds=1)
    name(4, seconds=60)
    end = time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > end)
    assert _is_open(4)


@VERSIONS
def test_no_name_opens_the_host_itself(bridges: Bridges, nethost: NetHost, version: int) -> None:
    box = limited(bridges, bridges.network(FIRST), 2)
    for own in (HOST[version], box.gateway[version]):
        address = socket.inet_pton(family_of(own), own)
        with Nftables() as link:
            link.commit(egress.opened(TABLE, MARK, [address], [], 60))
        with serving(nethost.host, own) as server:
            assert cut_off(box.namespace, server, own)
    bridges.network(SECOND)


@VERSIONS
def test_the_host_is_reached_where_its_address_is_in_a_network(
    bridges: Bridges, nethost: NetHost, version: int
) -> None:
    own = HOST[version]
    box = limited(bridges, bridges.network(FIRST), 2, [own, own, 0, 0])
    with serving(nethost.host, own) as server:
        assert peer(box.namespace, server, own) == box.address[version]


@VERSIONS
@PROTOCOLS
def test_containers_of_the_same_network_are_reached_others_are_not(
    bridges: Bridges, nethost: NetHost, version: int, proto: str
) -> None:
    del nethost
    network = bridges.network(FIRST)
    box = limited(bridges, network, 2)
    sibling, stranger = bridges.box(network, 3), bridges.box(bridges.network(SECOND), 2)
    with serving(sibling.namespace, sibling.address[version], proto) as server:
        seen = peer(box.namespace, server, sibling.address[version], proto=proto)
        assert seen == box.address[version]
    with serving(stranger.namespace, stranger.address[version], proto) as server:
        assert cut_off(box.namespace, server, stranger.address[version], proto=proto)
    with serving(box.namespace, box.address[version], proto) as server:
        assert peer(sibling.namespace, server, box.address[version], proto=proto)


@VERSIONS
@PROTOCOLS
def test_whoever_calls_it_gets_an_answer(
    bridges: Bridges, nethost: NetHost, version: int, proto: str
) -> None:
    box = limited(bridges, bridges.network(FIRST), 2)
    binding = {
        "proto": proto, "host_ip": "0.0.0.0" if version == 4 else "::", "host_port": 8080,
        "ip": box.address[version], "port": PORT,
    }  # fmt: skip
    portmap.publish(TABLE, [binding])
    with serving(box.namespace, box.address[version], proto) as server:
        assert peer(nethost.outside, server, HOST[version], 8080, proto) == OUTSIDE[version]
        assert peer(nethost.host, server, box.address[version], proto=proto)


@VERSIONS
def test_a_port_that_another_network_publishes_is_not_reached_at_the_host(
    bridges: Bridges, version: int
) -> None:
    box = limited(bridges, bridges.network(FIRST), 2)
    stranger = bridges.box(bridges.network(SECOND), 2)
    binding = {
        "proto": "tcp", "host_ip": "0.0.0.0" if version == 4 else "::", "host_port": 8080,
        "ip": stranger.address[version], "port": PORT,
    }  # fmt: skip
    portmap.publish(TABLE, [binding])
    with serving(stranger.namespace, stranger.address[version]) as server:
        for own in (HOST[version], box.gateway[version]):
            assert cut_off(box.namespace, server, own, 8080)


@VERSIONS
def test_no_address_that_it_takes_for_its_own_gets_further(
    bridges: Bridges, nethost: NetHost, version: int
) -> None:
    """As a sibling, as somebody unknown, as a link-local address, as the outside itself."""
    network = bridges.network(FIRST)
    free, box = bridges.box(network, 3), limited(bridges, network, 2)
    to = mac_of(FIRST.bridge)
    sources = {
        4: [box.address[4], free.address[4], "10.0.1.77", "169.254.1.1", "0.0.0.0", OUTSIDE4],
        6: [box.address[6], free.address[6], "fd00:a::77", "fe80::77", OUTSIDE6],
    }[version]
    with serving(nethost.outside, OUTSIDE[version], "udp") as server:
        for source in sources:
            forge(box.namespace, "eth0", to, datagram(source, OUTSIDE[version], PORT))
        assert not hears(server)
        forge(free.namespace, "eth0", to, datagram(free.address[version], OUTSIDE[version], PORT))
        assert hears(server)
    with serving(nethost.host, HOST[version], "udp") as server:
        for source in sources:
            forge(box.namespace, "eth0", to, datagram(source, HOST[version], PORT))
        assert not hears(server)


@pytest.mark.parametrize("tags", [1, 2])
def test_tags_of_vlans_hide_nothing(bridges: Bridges, nethost: NetHost, tags: int) -> None:
    """The kernel takes tags of priority off, one after the other, and looks at what is inside."""
    network = bridges.network(FIRST)
    free, box = bridges.box(network, 3), limited(bridges, network, 2)
    heard = []
    for sender in (free, box):
        packet = datagram(sender.address[4], HOST4, PORT)
        with sender():
            own = mac_of("eth0")
            head = mac_of_bridge(nethost, FIRST.bridge) + own + b"\x81\0\0\0" * tags + b"\x08\0"
            with (
                serving(nethost.host, HOST4, "udp") as server,
                socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw,
            ):
                raw.sendto(head + packet, ("eth0", 0x8100))
                heard.append(hears(server))
    assert not heard[1]


def mac_of_bridge(nethost: NetHost, bridge: str) -> bytes:
    with inside(nethost.host):
        return mac_of(bridge)


@VERSIONS
def test_no_sibling_is_a_way_round(bridges: Bridges, nethost: NetHost, version: int) -> None:
    """A container may be a router, since that is how its namespace is made on such a host."""
    network = bridges.network(FIRST)
    free, helper, box = (bridges.box(network, each) for each in (3, 4, 2))
    with helper():
        setting("ipv4/ip_forward", "1")
        setting("ipv6/conf/all/forwarding", "1")
        to = mac_of("eth0")
    packet = datagram(free.address[version], OUTSIDE[version], PORT)
    with serving(nethost.outside, OUTSIDE[version], "udp") as server:
        forge(free.namespace, "eth0", to, packet)
        assert hears(server)
        fence(network, box, "kn3")
        for source in (box.address[version], free.address[version]):
            forge(box.namespace, "eth0", to, datagram(source, OUTSIDE[version], PORT))
        assert not hears(server)
    with serving(nethost.host, box.gateway[version], "udp") as server:
        forge(
            free.namespace, "eth0", to, datagram(free.address[version], box.gateway[version], PORT)
        )
        assert hears(server)
        forge(box.namespace, "eth0", to, datagram(box.address[version], box.gateway[version], PORT))
        assert not hears(server)


@VERSIONS
def test_no_sibling_answers_to_whom_it_pretends_to_be(
    bridges: Bridges, nethost: NetHost, version: int
) -> None:
    network = bridges.network(FIRST)
    free, box = bridges.box(network, 3), limited(bridges, network, 2)
    del nethost
    with free():
        to = mac_of("eth0")
    with serving(free.namespace, free.address[version], "udp") as server:
        for source in (OUTSIDE[version], HOST[version], box.gateway[version]):
            forge(box.namespace, "eth0", to, datagram(source, free.address[version], PORT))
        assert not hears(server)
        forge(
            box.namespace, "eth0", to, datagram(box.address[version], free.address[version], PORT)
        )
        assert hears(server)


def test_siblings_are_reached_all_at_once(bridges: Bridges, nethost: NetHost) -> None:
    network = bridges.network(FIRST)
    free, box = bridges.box(network, 3), limited(bridges, network, 2)
    del nethost
    if not bridges.hairpin:  # else packets to groups are looked at by the rules
        with box(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            index = links.index_of("eth0")
            with serving(free.namespace, "::", "udp") as server:
                client.sendto(b"all", ("ff02::1", PORT, 0, index))
                assert hears(server)
    with box(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        with serving(free.namespace, "0.0.0.0", "udp") as server:
            client.sendto(b"all", ("10.0.1.255", PORT))
            assert hears(server)


@VERSIONS
def test_no_echo_and_no_name_server_of_the_world(
    bridges: Bridges, nethost: NetHost, version: int
) -> None:
    box = limited(bridges, bridges.network(FIRST), 2)
    for proto in ("udp", "tcp"):
        with serving(nethost.outside, OUTSIDE[version], proto, port=53) as server:
            assert cut_off(box.namespace, server, OUTSIDE[version], 53, proto)
    assert not echoes(box, OUTSIDE[version])
    assert not echoes(box, HOST[version])
    name(version)
    assert echoes(box, OUTSIDE[version])


def echoes(box: Box, address: str) -> bool:
    """Tell whether an ICMP echo is answered."""
    v4 = ":" not in address
    kind = socket.IPPROTO_ICMP if v4 else socket.IPPROTO_ICMPV6
    with box(), socket.socket(family_of(address), socket.SOCK_RAW, kind) as raw:
        raw.setblocking(False)
        head = struct.pack(">BBHHH", 8 if v4 else 128, 0, 0xF7FD if v4 else 0, 1, 1)
        try:
            raw.sendto(head, (address, 0))
            drained()
            drained()  # there, and back
            while True:
                data, (whom, *_) = raw.recvfrom(200)
                if whom == address and data[20 if v4 else 0] == (0 if v4 else 129):
                    return True
        except OSError:
            return False


def test_what_neighbours_say_leads_nowhere_else(bridges: Bridges, nethost: NetHost) -> None:
    """ICMPv6 of the kinds without which no gateway is found does not leave the link."""
    box = limited(bridges, bridges.network(FIRST), 2)
    with nethost.beyond():
        ear = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    with ear:
        ear.setblocking(False)
        with box(), socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
            raw.sendto(struct.pack(">BBHI", 135, 0, 0, 0) + b"secret" * 5, (OUTSIDE6, 0))
        drained()
        with pytest.raises(BlockingIOError):
            while b"secret" not in ear.recv(200):
                pass


def test_no_error_about_a_connection_of_others_gets_out(bridges: Bridges, nethost: NetHost) -> None:
    """It is related to that connection, and may have in it whatever its sender likes."""
    network = bridges.network(FIRST)
    free, box = bridges.box(network, 3), limited(bridges, network, 2)
    with nethost.beyond():
        ear = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    answered = datagram(OUTSIDE4, free.address[4], 999, b"secret" * 5)
    answered = answered[:20] + struct.pack(">H", PORT) + answered[22:]
    body = struct.pack(">BBHI", 3, 3, 0, 0) + answered
    body = body[:2] + struct.pack(">H", checksum(body)) + body[4:]
    with ear, serving(nethost.outside, OUTSIDE4, "udp") as server:
        ear.setblocking(False)
        for sender in (free, box):
            forge(
                free.namespace, "eth0", mac_of(FIRST.bridge),
                datagram(free.address[4], OUTSIDE4, PORT),
            )  # fmt: skip
            assert select.select([server], [], [], PATIENCE)[0]
            server.sendto(b"answer", server.recvfrom(100)[1])
            head = datagram(sender.address[4], OUTSIDE4, 0, body[8:])
            head = head[:9] + b"\1\0\0" + head[12:20]
            head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
            forge(sender.namespace, "eth0", mac_of(FIRST.bridge), head + body)
            drained()
            heard = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    heard.append(ear.recv(300))
            assert any(b"secret" in each for each in heard) == (sender is free)


@VERSIONS
@PROTOCOLS
def test_without_any_rules_it_reaches_nothing(
    bridges: Bridges, nethost: NetHost, version: int, proto: str
) -> None:
    there = OUTSIDE[version]
    network = bridges.network(FIRST)
    box = limited(bridges, network, 2, everything(version))
    name(version)
    free = bridges.box(network, 3)
    with serving(nethost.host, HOST[version], proto) as server:
        assert peer(box.namespace, server, HOST[version], proto=proto)
    with Nftables() as link:
        link.commit([nft.delete_table(INET, TABLE)])
    with serving(nethost.host, HOST[version], proto, PORT + 1) as server:
        assert cut_off(box.namespace, server, HOST[version], PORT + 1, proto)
        assert peer(free.namespace, server, HOST[version], PORT + 1, proto)
    with serving(nethost.outside, there, "udp") as server:
        with inside(nethost.outside), Netlink() as sock:
            for net in ("10.0.1.0/24", "fd00:a::/64"):
                address, _, length = net.partition("/")
                gateway = HOST4 if "." in net else HOST6
                sock.ask(links.new_route(links.index_of("eth0"), gateway, address, int(length)))
        assert cut_off(box.namespace, server, there, proto="udp")
        assert peer(free.namespace, server, there, proto="udp") == free.address[version]


def test_the_host_is_never_without_its_own_addresses(nethost: NetHost) -> None:
    """The rule that stops what is marked comes first, and is made once."""
    del nethost
    for _ in range(2):
        egress.guard()
        with Netlink() as sock:
            for family in (socket.AF_INET, socket.AF_INET6):
                first, second, *rest = traffic.rules(sock, family)
                assert (first.action, first.mark) == (traffic.PROHIBIT, egress.PREFIX)
                assert (second.priority, second.table) == (0, traffic.TABLE_LOCAL)
                assert traffic.TABLE_LOCAL not in [rule.table for rule in rest]


def test_a_guard_that_was_half_made_is_made_whole(nethost: NetHost) -> None:
    del nethost
    half = traffic.Rule(traffic.PROHIBIT, mark=egress.PREFIX, mask=egress.MASK)
    local = traffic.Rule(traffic.TO_TABLE, table=traffic.TABLE_LOCAL)
    with Netlink() as sock:
        sock.ask(half.new(socket.AF_INET))
        sock.ask(half.new(socket.AF_INET6), local.new(socket.AF_INET6))
        egress.guard()
        for family in (socket.AF_INET, socket.AF_INET6):
            found = traffic.rules(sock, family)
            assert [(rule.action, rule.table) for rule in found if not rule.priority] == [
                (traffic.PROHIBIT, 0), (traffic.TO_TABLE, traffic.TABLE_LOCAL),
            ]  # fmt: skip


def test_rules_that_somebody_has_arranged_stay_as_they_are(nethost: NetHost) -> None:
    del nethost
    subprocess.run(["ip", "rule", "add", "pref", "0", "iif", "lo", "lookup", "local"], check=True)
    subprocess.run(["ip", "rule", "del", "pref", "0", "lookup", "local"], check=True)
    subprocess.run(["ip", "rule", "add", "pref", "0", "lookup", "local"], check=True)
    with Netlink() as sock:
        before = len(traffic.rules(sock, socket.AF_INET))
        egress.guard()
        assert len(traffic.rules(sock, socket.AF_INET)) == before + 1


def test_what_was_allowed_is_taken_back_and_nothing_of_others(bridges: Bridges) -> None:
    bridges.network(FIRST)
    whole = plan(everything(4), [OUTSIDE6, OUTSIDE6, 6, 443])
    other = plan(everything(4), mark=MARK + 1, container="d" * 64)
    egress.allow(other)
    before = _elements()
    for _ in range(2):
        egress.allow(whole)
        name(4)
        name(6, (6, 443))
        assert len(_elements()) == len(before) + 5
        egress.withdraw(whole)
        assert _elements() == before
    egress.withdraw(whole)


def test_two_containers_never_share_a_mark(bridges: Bridges) -> None:
    bridges.network(FIRST)
    egress.allow(plan(everything(4)))
    before = _elements()
    with pytest.raises(Exception, match="container cccccccccccc has the mark 0x6b000102, too"):
        egress.allow(plan(container="d" * 64))
    egress.withdraw(plan(container="d" * 64))
    assert _elements() == before


def _elements() -> set[bytes]:
    with Nftables() as link:
        return {
            each.name.encode() + one.key
            for each in egress.SETS
            for one in link.list_elements(INET, TABLE, each.name)
        }


def test_a_bridge_keeps_the_address_that_the_program_knows(
    bridges: Bridges, nethost: NetHost
) -> None:
    network = bridges.network(FIRST)
    box = limited(bridges, network, 2, everything(4))
    before = mac_of(FIRST.bridge)
    for number in range(3, 8):
        bridges.box(network, number)
    assert mac_of(FIRST.bridge) == before
    with serving(nethost.outside, OUTSIDE4) as server:
        assert peer(box.namespace, server, OUTSIDE4)
