"""Networks of an engine: rows, subnets, addresses; what of them is on the host and when."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from knarr import ContainerConfig, errors
from knarr.engine.endpointconfig import EndpointConfig
from knarr.engine.networks import joining
from knarr.kernel import links
from knarr.kernel.netlink import Netlink
from knarr.networks import options
from knarr.networks.definition import Pool
from knarr.networks.drivers import bridge

if TYPE_CHECKING:
    from knarr import Engine
    from knarr.engine.container import Container

pytestmark = pytest.mark.usefixtures("nethost")


def _made(engine: Engine, network: str, **more: Any) -> Container:
    return engine.containers.create(
        ContainerConfig(image="busybox", command=("true",), network=network, **more)
    )


def _addresses(engine: Engine, container: Container) -> list[str]:
    return [each for wanted in _plans(engine, container) for each in wanted["addresses"]]


def _plans(engine: Engine, container: Container) -> list[dict[str, Any]]:
    """Have a container's addresses recorded; return how it would be joined."""
    record = engine.table.existing(container.id)
    return joining.planned(engine, record, joining.places(engine, record))


def _names() -> dict[str, int]:
    with Netlink() as sock:
        return links.names(sock)


def test_the_predefined_networks_are_always_there(engine: Engine) -> None:
    found = engine.networks.list()
    assert [(each.name, each.driver) for each in found] == [
        ("bridge", "bridge"), ("host", "host"), ("none", "null"),
    ]  # fmt: skip
    shown = engine.networks.get("bridge").inspect()
    assert shown["IPAM"]["Config"] == [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
    assert shown["Options"]["com.docker.network.bridge.default_bridge"] == "true"
    assert engine.networks.get("default").id == engine.networks.get(shown["Id"][:9]).id
    for name in ("bridge", "host", "none"):
        with pytest.raises(errors.Forbidden, match=f"{name} is a pre-defined network and cannot"):
            engine.networks.remove(name)
        with pytest.raises(errors.Forbidden, match="not permitted on predefined"):
            engine.networks.create(name)
    with pytest.raises(errors.Forbidden, match='only one instance of "host" network is allowed'):
        engine.networks.create("other", driver="host")


def test_many_networks_have_subnets_of_their_own(engine: Engine) -> None:
    made = [engine.networks.create(f"net{number}", ipv6=True) for number in range(35)]
    subnets = [pool.network for each in made for pool in each.definition.pools]
    assert len(subnets) == 70
    for one, other in itertools.combinations(subnets, 2):
        assert one.version != other.version or not one.overlaps(other)
    assert str(subnets[0]) == "172.17.0.0/16"


def test_routes_of_the_host_are_left_alone(engine: Engine) -> None:
    with Netlink() as sock:
        index = links.index_of("uplink")
        sock.ask(links.new_route(index, destination="172.17.0.0", prefix=17))
    assert engine.networks.create("one").definition.pools[0].subnet == "172.18.0.0/16"
    with pytest.raises(errors.Forbidden) as caught:
        engine.networks.create("two", pools=(Pool("172.17.4.0/24"),))
    assert str(caught.value) == (
        "invalid pool request: Pool overlaps with other one on this address space "
        "(172.17.4.0/24 and 172.17.0.0/17, a route of the host over uplink)"
    )
    with pytest.raises(errors.Forbidden, match=r"172\.18\.0\.0/16, network one"):
        engine.networks.create("two", pools=(Pool("172.18.0.0/24"),))
    assert [each.name for each in engine.networks.list({"type": ["custom"]})] == ["one"]


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({"driver": "nothing"}, 'plugin "nothing" not found'),
        ({"driver": "overlay"}, "networks over several machines are not available yet"),
        ({"driver": "../bridge"}, "not found"),
        ({"ipv4": False}, "IPv4 or IPv6 must be enabled"),
        ({"pools": (Pool("10.1.0.0/16"), Pool("10.2.0.0/16"))}, "doesn't support multiple subnets"),
        ({"pools": (Pool("10.1.0.1/16"),)}, "it should be 10.1.0.0/16"),
        ({"options": {"com.docker.network.bridge.enable_icc": "maybe"}},
         r'enable_icc value: maybe \(strconv.ParseBool: parsing "maybe": invalid syntax\)'),
        ({"options": {"com.docker.network.driver.mtu": "-5"}}, "invalid MTU number: -5"),
        ({"options": {"com.docker.network.driver.mtu": "big"}}, 'strconv.Atoi: parsing "big"'),
        ({"options": {"color": "red"}}, "driver bridge has no option color"),
        ({"options": {"com.docker.network.bridge.name": "far-too-long-a-name"}},
         "invalid bridge name"),
        ({"options": {"com.docker.network.bridge.name": "a/b"}}, "invalid bridge name"),
        ({"options": {options.PREFIX: "a/b"}}, "invalid interface name"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be(engine: Engine, how: dict[str, Any], problem: str) -> None:
    with pytest.raises(errors.KnarrError, match=problem):
        engine.networks.create("net", **how)
    assert not engine.networks.list({"type": ["custom"]})


def test_names_are_given_once(engine: Engine) -> None:
    first = engine.networks.create("net")
    with pytest.raises(errors.Conflict, match="network with name net already exists"):
        engine.networks.create("net")
    for name in ("", " ", "a/b", "container:x", "a\nb"):
        with pytest.raises(errors.InvalidArgument, match="invalid name"):
            engine.networks.create(name)
    engine.networks.remove(first.id[:12])
    assert engine.networks.create("net").id != first.id
    with pytest.raises(errors.NotFound, match="network nobody not found"):
        engine.networks.get("nobody")


def test_fifty_at_once_get_fifty_addresses(engine: Engine) -> None:
    engine.networks.create("net", ipv6=True, pools=(Pool("10.9.0.0/26"),))
    containers = [_made(engine, "net") for _ in range(50)]
    found: list[list[str]] = []
    ready = threading.Barrier(50)

    def plan(container: Container) -> None:
        ready.wait()
        found.append(_addresses(engine, container))

    threads = [threading.Thread(target=plan, args=(each,)) for each in containers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fours = sorted(int(four.split("/")[0].rpartition(".")[2]) for four, _ in found)
    assert fours == list(range(2, 52))
    assert len({six for _, six in found}) == 50


def test_processes_share_the_addresses_too(engine: Engine) -> None:
    engine.networks.create("net")
    ids = [_made(engine, "net").id for _ in range(12)]
    program = (
        "import sys; from knarr import Engine\n"
        "from knarr.engine.networks import joining\n"
        "from knarr.config import Settings\n"
        "engine = Engine(Settings(data_root=sys.argv[1], run_root=sys.argv[2]))\n"
        "for name in sys.argv[3:]:\n"
        "    record = engine.table.existing(name)\n"
        "    (one,) = joining.planned(engine, record, joining.places(engine, record))\n"
        "    print(one['addresses'][0])\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, engine.settings.data_root, engine.settings.run_root,
             *part],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for part in (ids[:4], ids[4:8], ids[8:])
    ]  # fmt: skip
    texts = [each.communicate()[0].decode() for each in running]
    assert len(set("".join(texts).split())) == 12


def test_an_address_is_kept_until_disconnect(engine: Engine) -> None:
    engine.networks.create("net")
    first, second = _made(engine, "net"), _made(engine, "net")
    assert _addresses(engine, first) == ["172.17.0.2/16"]
    assert _addresses(engine, second) == ["172.17.0.3/16"]
    assert _addresses(engine, first) == ["172.17.0.2/16"]
    engine.networks.disconnect("net", first.name)
    assert _addresses(engine, first) == []
    engine.networks.connect("net", first.name, EndpointConfig("net"))
    assert _addresses(engine, first) == ["172.17.0.2/16"]
    second.remove()
    assert [str(each) for each in engine.networks.table.held(engine.networks.get("net").id)] == [
        "172.17.0.1", "172.17.0.2",
    ]  # fmt: skip


def test_a_full_pool_takes_back_what_nobody_uses(engine: Engine) -> None:
    engine.networks.create("net", pools=(Pool("10.9.0.0/29"),))  # five are left for containers
    old = [_made(engine, "net") for _ in range(5)]
    for each in old:
        _addresses(engine, each)
    late = _made(engine, "net")
    assert _addresses(engine, late) == ["10.9.0.2/29"]  # the first one's, which does not run
    assert _addresses(engine, old[0]) == ["10.9.0.2/29"]  # and so on, as long as nobody runs


def test_addresses_that_were_asked_for_stay(engine: Engine) -> None:
    engine.networks.create("net", pools=(Pool("10.9.0.0/30"),))  # one is left
    fixed = _made(engine, "net", endpoints=(EndpointConfig("net", ip="10.9.0.2"),))
    assert _addresses(engine, fixed) == ["10.9.0.2/30"]
    other = _made(engine, "net")
    network = engine.networks.get("net")
    with pytest.raises(errors.ResourceExhausted) as caught:
        _addresses(engine, other)
    assert str(caught.value) == (
        "failed to set up container networking: no available IPv4 addresses on this network's "
        f"address pools: net ({network.id})"
    )
    gateway = _made(engine, "net", endpoints=(EndpointConfig("net", ip="10.9.0.1"),))
    with pytest.raises(errors.Conflict, match=r"Address already in use: 10\.9\.0\.1"):
        _addresses(engine, gateway)


def test_a_fixed_address_wins_over_one_that_does_not_run(engine: Engine) -> None:
    engine.networks.create("net")
    first = _made(engine, "net")
    assert _addresses(engine, first) == ["172.17.0.2/16"]
    fixed = _made(engine, "net", endpoints=(EndpointConfig("net", ip="172.17.0.2"),))
    assert _addresses(engine, fixed) == ["172.17.0.2/16"]
    assert _addresses(engine, first) == ["172.17.0.3/16"]


@pytest.mark.parametrize(
    ("network", "config", "problem"),
    [
        ("bridge", {"ip": "172.17.0.9"}, "user-specified IP address is supported on user-defined"),
        ("bridge", {"aliases": ("db",)}, "network-scoped aliases are only supported for user"),
        ("net", {"ip": "10.1.1.1"}, "no configured subnet contains IP address 10.1.1.1"),
        ("net", {"ip6": "fd00::5"}, "no configured subnet contains IP address fd00::5"),
        ("net", {"ip": "fd00::5"}, "invalid IPv4 address: fd00::5"),
        ("net", {"link_local": ("10.0.0.1",)}, "invalid link-local IP address: 10.0.0.1"),
        ("nobody", {}, "network nobody not found"),
    ],
)
def test_endpoints_that_cannot_be(
    engine: Engine, network: str, config: dict[str, Any], problem: str
) -> None:
    engine.networks.create("net", pools=(Pool("10.9.0.0/24"),))
    wanted = (EndpointConfig(network, **config),)
    with pytest.raises(errors.KnarrError, match=problem):
        _addresses(engine, _made(engine, network, endpoints=wanted))


def test_an_attachment_says_all(engine: Engine) -> None:
    front = engine.networks.create(
        "front",
        ipv6=True,
        pools=(Pool("10.9.0.0/24", gateway="10.9.0.254"), Pool("fd09::/64")),
        options={"com.docker.network.driver.mtu": "1400"},
    )
    engine.networks.create(
        "back", internal=True, pools=(Pool("10.8.0.0/24", "10.8.0.128/25"),),
        options={"com.docker.network.bridge.enable_icc": "false", options.PREFIX: "lan"},
    )  # fmt: skip
    container = _made(
        engine, "front", name="Web", hostname="www", dns_search=("example.org",),
        endpoints=(
            EndpointConfig("back"),
            EndpointConfig("front", ("DB",), ip6="fd09::7", link_local=("169.254.7.7",)),
        ),
    )  # fmt: skip
    back, first = _plans(engine, container)
    assert back["addresses"] == ["10.8.0.129/24"]  # the gateway has the range's first
    assert back["gateways"] == []
    assert back["isolated"]
    assert back["name"] == "lan0"
    assert len(first["host_if"]) == 13
    assert first.pop("host_if") != back["host_if"]
    assert first.pop("hairpin") in (True, False)
    for told, action in (("joined", "connect"), ("left", "disconnect")):
        path, event = first.pop(told)
        assert path == f"{engine.settings.run_root}/events"
        assert f'"Action":"{action}"' in event
    assert first == {
        "network": front.id,
        "driver": "bridge",
        "bridge": f"br-{front.id[:12]}",
        "name": "eth1",
        "mac": "02:42:0a:09:00:01",
        "addresses": ["10.9.0.1/24", "fd09::7/64", "169.254.7.7/16"],
        "gateways": ["10.9.0.254", "fd09::1"],
        "mtu": 1400,
        "isolated": False,
        "rate_in": None,
        "rate_out": None,
        "endpoint": {
            "container": container.id,
            "network": "front",
            "name": "Web",
            "names": ["web", "db", "www"],
            "short": container.short_id,
            "addresses": ["10.9.0.1", "fd09::7"],
            "search": ["example.org"],
        },
    }


def _table(engine: Engine) -> Any:
    name = engine.networks.on_host.firewall.table
    done = subprocess.run(
        ["nft", "-j", "list", "table", "inet", name], capture_output=True, check=False
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


def test_a_network_is_made_when_it_is_used_and_unmade_when_removed(engine: Engine) -> None:
    network = engine.networks.create("net", ipv6=True)
    name = f"br-{network.id[:12]}"
    assert name not in _names()
    record = engine.table.existing(_made(engine, "net").id)
    with engine.networks.ready(record) as (_, attachments):
        assert [each["bridge"] for each in attachments] == [name]
        index = _names()[name]
        with Netlink() as sock:
            there = {(raw, prefix) for _, at, raw, prefix in links.addresses(sock) if at == index}
        for pool in network.definition.pools:
            gateway = engine.networks.find("net").of_version(pool.version)
            assert gateway is not None
            assert (links.packed(gateway.gateway)[1], pool.prefix) in there
    assert engine.networks.on_host.firewall.networks() == {network.id}
    with engine.networks.ready(record):
        assert _names()[name] == index  # it was not made again
    engine.networks.remove("net")
    assert name not in _names()
    assert engine.networks.on_host.firewall.networks() == set()


def test_what_somebody_took_away_is_made_again(engine: Engine) -> None:
    networks = [engine.networks.create("one"), engine.networks.create("two")]
    records = [engine.table.existing(_made(engine, each.name).id) for each in networks]
    for record in records:
        with engine.networks.ready(record):
            pass
    firewall = engine.networks.on_host.firewall
    assert firewall.networks() == {each.id for each in networks}
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    assert _table(engine) is None
    with engine.networks.ready(records[0]):
        assert firewall.networks() == {each.id for each in networks}
    with Netlink() as sock:
        sock.ask(links.delete_link(f"br-{networks[1].id[:12]}"))
    with engine.networks.ready(records[1]):
        assert f"br-{networks[1].id[:12]}" in _names()


@pytest.mark.parametrize("more", [{}, {bridge.DEFAULT_BRIDGE: "true"}])
def test_a_bridge_that_somebody_else_made_stays(engine: Engine, more: dict[str, str]) -> None:
    with Netlink() as sock:
        sock.ask(links.new_bridge("lan0"))
    index = _names()["lan0"]
    engine.networks.create("lan", options={bridge.NAME: "lan0", **more})
    with engine.networks.ready(engine.table.existing(_made(engine, "lan").id)):
        assert _names()["lan0"] == index
    engine.networks.remove("lan")
    assert _names()["lan0"] == index


def test_a_bridge_is_of_one_network(engine: Engine) -> None:
    engine.networks.create("one", options={bridge.NAME: "lan0"})
    with pytest.raises(errors.Forbidden, match="called one: networks have same bridge name"):
        engine.networks.create("two", options={bridge.NAME: "lan0"})
    default = engine.networks.get("bridge").definition.options[bridge.NAME]
    with pytest.raises(errors.Forbidden, match="same bridge name"):
        engine.networks.create("two", options={bridge.NAME: default})


def test_nothing_stays_of_a_bridge_that_cannot_be_made(engine: Engine) -> None:
    with Netlink() as sock:
        sock.ask(links.new_veth("lan0", "lan1"))
    engine.networks.create("lan", options={bridge.NAME: "lan0"})
    record = engine.table.existing(_made(engine, "lan").id)
    with (
        pytest.raises(errors.KnarrError, match=r"network lan: .*lan0"),
        engine.networks.ready(record),
    ):
        pass
    engine.networks.remove("lan")
    assert "lan0" in _names()


def test_a_removal_that_was_killed_is_seen_through(engine: Engine) -> None:
    network = engine.networks.create("net")
    with engine.networks.ready(engine.table.existing(_made(engine, "net").id)):
        pass
    engine.networks.table.mark_removing(network.id)
    assert engine.networks.recover().done == ["network net, which was to be removed"]
    assert f"br-{network.id[:12]}" not in _names()
    with pytest.raises(errors.NotFound):
        engine.networks.get("net")


def test_prune_and_filters(engine: Engine) -> None:
    engine.networks.create("front", labels={"tier": "web"})
    engine.networks.create("back", labels={"tier": "db", "keep": ""})

    def found(**filters: list[str]) -> list[str]:
        return [each.name for each in engine.networks.list(filters)]

    assert found(type=["custom"]) == ["back", "front"]
    assert found(type=["builtin"], driver=["null"]) == ["none"]
    assert found(label=["tier=web"]) == ["front"]
    assert found(name=["^f", "none"]) == ["front", "none"]
    assert found(dangling=["true"]) == ["back", "front"]
    assert found(scope=["swarm"]) == []
    assert found(id=[engine.networks.get("back").id]) == ["back"]
    for filters in ({"color": ["red"]}, {"type": ["odd"]}, {"dangling": ["maybe"]}):
        with pytest.raises(errors.InvalidArgument, match="invalid"):
            engine.networks.list(filters)
    assert engine.networks.prune({"label!": ["keep"]}) == ["front"]
    assert engine.networks.prune() == ["back"]
    assert found() == ["bridge", "host", "none"]


def test_inspect_as_docker_has_it(engine: Engine) -> None:
    network = engine.networks.create(
        "net", pools=(Pool("10.9.0.0/24", "10.9.0.64/26", "10.9.0.1", {"nas": "10.9.0.70"}),),
        labels={"a": "b"},
    )  # fmt: skip
    shown = network.inspect()
    assert shown["IPAM"] == {
        "Driver": "default",
        "Options": {},
        "Config": [{
            "Subnet": "10.9.0.0/24", "IPRange": "10.9.0.64/26", "Gateway": "10.9.0.1",
            "AuxiliaryAddresses": {"nas": "10.9.0.70"},
        }],
    }  # fmt: skip
    assert shown["Containers"] == {}
    assert shown["Status"]["IPAM"]["Subnets"] == {
        "10.9.0.0/24": {"IPsInUse": 4, "DynamicIPsAvailable": 63}
    }


def test_events_of_networks(engine: Engine) -> None:
    since = time.time_ns()
    engine.networks.create("net")
    engine.networks.remove("net")
    seen = list(engine.events(since=since, until=time.time_ns(), filters={"type": ["network"]}))
    assert [each["Action"] for each in seen] == ["create", "destroy"]
    assert seen[0]["Actor"]["Attributes"] == {"name": "net", "type": "bridge"}
