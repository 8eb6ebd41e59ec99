"""Published ports come and go; the table beside other tables, and after somebody has flushed it."""

from __future__ import annotations

import errno
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.kernel import conntrack, nfnotices
from knarr.kernel import nftables as nft
from knarr.kernel.nftables import Nftables
from knarr.networks.firewall import Firewall, NetworkRules
from knarr.runtime import portmap
from tests.integration.networks.test_firewall import (
    INTERNAL,
    QUIET,
    binding,
    publish,
)
from tests.support.bridges import (
    ANY,
    FIRST,
    HOST,
    OUTSIDE,
    PORT,
    TABLE,
    Bridges,
    bridge_filters,
    cut_off,
    family_of,
    hears,
    made,
    peer,
    serving,
)
from tests.support.nethost import HOST4, OUTSIDE4, NetHost, inside

FOREIGN = """
table ip nat {
  chain PREROUTING { type nat hook prerouting priority dstnat; policy accept;
    tcp dport 9090 dnat to 192.0.2.1
  }
  chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept;
    ip saddr 172.30.0.0/16 masquerade
  }
}
table inet firewalld {
  chain filter_INPUT { type filter hook input priority 10; policy accept;
    tcp dport 8080 drop
  }
}
table inet admin {
  set closed { type inet_service; elements = { 4001 } }
  chain forward { type filter hook forward priority 10; policy accept;
    tcp dport @closed drop
  }
}
"""


def nft_command(*words: str, text: str = "") -> str:
    """Run nft(8) in the namespace that the test is in."""
    if shutil.which("nft") is None:
        pytest.skip("needs nft (package nftables)")
    done = subprocess.run(["nft", *words], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def bridges(nethost: NetHost) -> Iterator[Bridges]:
    host = made(nethost, filters=False)
    yield host
    host.close()


def test_the_table_is_what_nft_would_make_of_its_text(nethost: NetHost) -> None:
    bridge_filters(False)
    firewall = Firewall(TABLE)
    firewall.install([FIRST, INTERNAL, QUIET])
    portmap.publish(
        TABLE,
        [
            {
                "proto": "tcp",
                "host_ip": host,
                "host_port": 80,
                "ip": box,
                "port": 8080,
            }
            for host, box in (
                ("0.0.0.0", "10.0.1.2"),
                ("127.0.0.1", "10.0.1.2"),
                ("::", "fd00:a::2"),
                ("2001:db8::1", "fd00:a::2"),
            )
        ],
    )
    found = json.loads(nft_command("-j", "list", "table", "inet", TABLE))
    with inside(nethost.outside):
        nft_command("-f", str(Path(__file__).with_name("table.nft")))
        expected = json.loads(nft_command("-j", "list", "table", "inet", TABLE))
    assert _plain(found) == _plain(expected)


def _plain(listed: dict[str, list[dict[str, dict[str, object]]]]) -> list[object]:
    """Return what nft lists without the numbers that the kernel gave."""
    for each in listed["nftables"]:
        for thing in each.values():
            thing.pop("handle", None)
            if isinstance(elements := thing.get("elem"), list):
                elements.sort(key=json.dumps)
    return list(listed["nftables"])


def test_networks_come_and_go_alone(nethost: NetHost) -> None:
    firewall = Firewall(TABLE)
    neighbour = NetworkRules("e" * 64, "br-e", ["10.0.2.0/24"], ["fd00:a:0:1::/64"])
    firewall.add_network(FIRST)
    before = nft_command("list", "table", "inet", TABLE)
    firewall.add_network(neighbour)
    firewall.add_network(neighbour)
    assert firewall.networks() == {FIRST.id, neighbour.id}
    firewall.remove_network(neighbour.id)
    firewall.remove_network(neighbour.id)
    assert nft_command("list", "table", "inet", TABLE) == before
    firewall.add_network(NetworkRules(FIRST.id, "br-a", FIRST.subnets4, internal=True))
    listed = nft_command("list", "table", "inet", TABLE)
    assert "drop comment" not in listed
    assert f'"br-a" comment "{FIRST.id}" : drop' in listed
    assert "fd00:a" not in listed
    firewall.remove_network(FIRST.id)
    assert firewall.networks() == set()


def test_a_network_that_is_added_brings_ports_of_loopback_up_to_date(nethost: NetHost) -> None:
    firewall = Firewall(TABLE)
    for filters in (True, False, True):
        bridge_filters(filters)
        firewall.add_network(FIRST)
        listed = nft_command("list", "map", "inet", TABLE, "unreachable6")
        assert ("::1 : return" in listed) is filters


def test_without_the_table_nothing_is_there_to_take_away(nethost: NetHost) -> None:
    firewall = Firewall(TABLE)
    assert not firewall.present()
    assert firewall.networks() == set()
    firewall.remove_network(FIRST.id)
    port: dict[str, str | int] = {
        "proto": "tcp",
        "host_ip": "0.0.0.0",
        "host_port": 80,
        "ip": "10.0.1.2",
        "port": 80,
    }
    portmap.unpublish(TABLE, [port])
    with pytest.raises(OSError, match=r"publish 0\.0\.0\.0:80:80/tcp: table inet knarr") as caught:
        portmap.publish(TABLE, [port])
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(OSError, match=r"publish \[::\]:80:80/tcp: not a port mapping"):
        portmap.publish(TABLE, [{**port, "host_ip": "::"}])


def test_a_table_that_lost_a_rule_is_not_there(nethost: NetHost) -> None:
    firewall = Firewall(TABLE)
    firewall.install([FIRST])
    assert firewall.present()
    nft_command("flush", "chain", "inet", TABLE, "raw")
    assert not firewall.present()
    firewall.install([FIRST])
    assert firewall.present()


def test_other_tables_stay_as_they_are_and_ours_beside_them(bridges: Bridges) -> None:
    nft_command("-f", "-", text=FOREIGN)
    before = nft_command("list", "table", "ip", "nat") + nft_command(
        "list", "table", "inet", "admin"
    )
    box = bridges.box(bridges.network(FIRST), 2)
    publish(box, 4)
    publish(box, 4, port=4001)
    outside = bridges.host.outside
    with (
        serving(box.namespace, ANY[4]) as server,
        serving(box.namespace, ANY[4], port=4001) as shut,
    ):
        assert peer(outside, server, HOST4, 8080) == OUTSIDE4
        assert peer(outside, server, HOST4, 4001) == OUTSIDE4
        # an administrator's drop is the last word: our accepting is not for his table
        portmap.publish(TABLE, [{**binding(box, 4, port=4002), "port": 4001}])
        assert cut_off(outside, shut, HOST4, 4002)
        nft_command("delete", "table", "inet", "admin")
        assert peer(outside, shut, HOST4, 4002) == OUTSIDE4
        with serving(outside, ANY[4]) as beyond:
            assert peer(box.namespace, beyond, OUTSIDE4) == HOST4
    nft_command("-f", "-", text=FOREIGN[FOREIGN.index("table inet admin") :])
    after = nft_command("list", "table", "ip", "nat") + nft_command(
        "list", "table", "inet", "admin"
    )
    assert after == before


def test_who_drops_what_is_forwarded_is_named(bridges: Bridges) -> None:
    box = bridges.box(bridges.network(FIRST), 2)
    assert bridges.firewall.obstacles() == []
    chain = "chain FORWARD { type filter hook forward priority 0; policy drop; }"
    nft_command("-f", "-", text=f"table ip filter {{\n{chain}\n}}\n")
    with serving(bridges.host.outside, ANY[4]) as server:
        assert cut_off(box.namespace, server, OUTSIDE4)
        (told,) = bridges.firewall.obstacles()
        assert told.startswith("table ip filter: chain FORWARD drops")
        nft_command("insert", "rule", "ip", "filter", "FORWARD", "iifname", "br-a", "accept")
        nft_command("insert", "rule", "ip", "filter", "FORWARD", "oifname", "br-a", "accept")
        assert peer(box.namespace, server, OUTSIDE4) == HOST4


def test_a_flushed_table_is_noticed_and_made_again(bridges: Bridges) -> None:
    box = bridges.box(bridges.network(FIRST), 2)
    publish(box, 4)
    outside = bridges.host.outside
    with serving(box.namespace, ANY[4]) as server, Nftables(watch=True) as watcher:
        assert peer(outside, server, HOST4, 8080) == OUTSIDE4
        portmap.unpublish(TABLE, [binding(box, 4)])
        publish(box, 4)
        bridges.firewall.add_network(FIRST)
        watcher.sock.setblocking(False)  # a change is told before it is said to be done
        assert not _lost(watcher)
        nft_command("flush", "ruleset")
        assert _lost(watcher)
        assert not bridges.firewall.present()
        assert cut_off(outside, server, HOST4, 8080)
        bridges.firewall.install([FIRST], [binding(box, 4)])
        assert bridges.firewall.present()
        assert peer(outside, server, HOST4, 8080) == OUTSIDE4


def _lost(watcher: Nftables) -> bool:
    """Tell whether what has been notified by now says that something of our table is gone."""
    lost = False
    while True:
        try:
            told = watcher.receive()
        except BlockingIOError:
            return lost
        lost = lost or any(nfnotices.loses(kind, body, nft.INET, TABLE) for kind, body in told)


@pytest.mark.vm
@pytest.mark.parametrize("version", [4, 6])
def test_datagrams_follow_a_port_to_another_container(bridges: Bridges, version: int) -> None:
    network = bridges.network(FIRST)
    first, second = bridges.box(network, 2), bridges.box(network, 3)
    address = HOST[version]
    with inside(bridges.host.outside):
        client = socket.socket(family_of(address), socket.SOCK_DGRAM)
    with (
        client,
        serving(first.namespace, ANY[version], "udp") as one,
        serving(second.namespace, ANY[version], "udp") as two,
    ):
        target = (address, 8080)
        client.sendto(b"before there is a port", target)
        assert not hears(one)
        publish(first, version, "udp")
        client.sendto(b"for the first", target)
        assert hears(one)
        portmap.unpublish(TABLE, [binding(first, version, "udp")])
        publish(second, version, "udp")
        client.sendto(b"for the second", target)
        assert hears(two)
        assert not hears(one)


@pytest.mark.parametrize("version", [4, 6])
def test_connections_of_a_container_that_is_gone_are_forgotten(
    bridges: Bridges, version: int
) -> None:
    box = bridges.box(bridges.network(FIRST), 2)
    publish(box, version)
    publish(box, version, port=8081)
    with serving(box.namespace, ANY[version]) as server:
        for port in (8080, 8081):
            assert peer(bridges.host.outside, server, HOST[version], port) == OUTSIDE[version]
    with Nftables() as link:
        target = socket.inet_pton(family_of(box.address[version]), box.address[version])
        seen = conntrack.ended_at(link, target, {(6, PORT)})
        assert {each.original[3] for each in seen} == {b"\x1f\x90", b"\x1f\x91"}
        portmap.unpublish(TABLE, [binding(box, version)])
        assert conntrack.ended_at(link, target, {(6, PORT)}) == []


def test_what_a_dead_container_left_gives_way_and_its_undo_leaves_the_new(
    nethost: NetHost,
) -> None:
    Firewall(TABLE).install([FIRST])
    old: dict[str, str | int] = {
        "proto": "tcp",
        "host_ip": "0.0.0.0",
        "host_port": 80,
        "ip": "10.0.1.2",
        "port": 80,
    }
    new = {**old, "ip": "10.0.1.3"}
    portmap.publish(TABLE, [old, {**old, "host_port": 81}])
    portmap.publish(TABLE, [old])
    portmap.publish(TABLE, [new])
    portmap.unpublish(TABLE, [old, {**old, "host_port": 81}])
    listed = nft_command("list", "map", "inet", TABLE, "any4")
    assert "tcp . 80 : 10.0.1.3 . 80" in listed
    assert "10.0.1.2" not in listed
    portmap.unpublish(TABLE, [new])
    assert "elements" not in nft_command("list", "map", "inet", TABLE, "any4")


def test_all_ports_or_none(nethost: NetHost) -> None:
    Firewall(TABLE).install([FIRST])
    nft_command("delete", "table", "inet", TABLE)
    nft_command("-f", "-", text="table inet knarr { map any4 { type inet_proto . inet_service : "
                "ipv4_addr . inet_service\n}\n}\n")  # fmt: skip
    ports: list[dict[str, str | int]] = [
        {
            "proto": "udp",
            "host_ip": host,
            "host_port": 80,
            "ip": "10.0.1.2",
            "port": 80,
        }
        for host in ("0.0.0.0", "192.0.2.1")
    ]
    with pytest.raises(OSError, match="table inet knarr: No such file"):
        portmap.publish(TABLE, ports)
    assert "elements" not in nft_command("list", "map", "inet", TABLE, "any4")


def test_a_thousand_ports_in_one_batch(nethost: NetHost) -> None:
    firewall = Firewall(TABLE)
    ports: list[dict[str, str | int]] = [
        {
            "proto": proto,
            "host_ip": "0.0.0.0",
            "host_port": number,
            "ip": "10.0.1.2",
            "port": number,
        }
        for number in range(20000, 20500)
        for proto in ("tcp", "sctp")
    ]
    firewall.install([FIRST])
    portmap.publish(TABLE, ports)
    assert nft_command("list", "map", "inet", TABLE, "any4").count("10.0.1.2") == len(ports)
    firewall.install([FIRST], ports)
    assert nft_command("list", "map", "inet", TABLE, "any4").count("10.0.1.2") == len(ports)
    portmap.unpublish(TABLE, ports)
    assert "10.0.1.2" not in nft_command("list", "map", "inet", TABLE, "any4")
