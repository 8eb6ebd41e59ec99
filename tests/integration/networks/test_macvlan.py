"""Containers with interfaces beside the host's, on the network of one of them."""

from __future__ import annotations

import socket

import pytest

from knarr import Container, ContainerConfig, Engine, ExecConfig, errors
from knarr.engine.endpointconfig import EndpointConfig
from knarr.kernel import links
from knarr.kernel.netlink import Netlink
from knarr.networks.definition import Pool
from tests.support.nethost import HOST4, OUTSIDE4, PREFIX4, UPLINK, NetHost
from tests.support.waiting import PATIENCE

SUBNET = f"198.51.100.0/{PREFIX4}"
LAN = Pool(SUBNET, gateway=OUTSIDE4, auxiliary={"host": HOST4})


def _lan(engine: Engine, **options: str) -> None:
    engine.networks.create(
        "lan", driver="macvlan", pools=(LAN,), options={"parent": UPLINK, **options}
    )


def _sleeper(engine: Engine, network: str) -> Container:
    config = ContainerConfig(image="busybox", command=("sleep", "1000"), network=network)
    return engine.containers.launch(config, attach=False).container


def _inside(container: Container, script: str) -> str:
    return container.exec_run(ExecConfig(("sh", "-c", script))).stdout.decode()


def test_it_is_seen_under_its_own_address(nethost: NetHost, engine: Engine) -> None:
    _lan(engine)
    with nethost.beyond():
        server = socket.create_server((OUTSIDE4, 0))
    server.settimeout(PATIENCE)
    with server:
        port = server.getsockname()[1]
        config = ContainerConfig(
            image="busybox", command=("sh", "-c", f"echo hi | nc {OUTSIDE4} {port}"), network="lan"
        )
        container = engine.containers.launch(config, attach=False).container
        taken, peer = server.accept()
        with taken:
            assert peer[0] == "198.51.100.3"
            assert taken.recv(10) == b"hi\n"
    assert container.wait(PATIENCE).exit_code == 0


def test_containers_reach_each_other_and_follow_connect(nethost: NetHost, engine: Engine) -> None:
    del nethost
    _lan(engine)
    one, two = _sleeper(engine, "lan"), _sleeper(engine, "bridge")
    engine.networks.connect("lan", two.name, EndpointConfig("", ip="198.51.100.77"))
    assert _inside(two, "ls /sys/class/net").split() == ["eth0", "eth1", "lo"]
    assert _inside(one, "ping -c 1 -w 5 198.51.100.77 >&2 && echo good") == "good\n"
    engine.networks.disconnect("lan", two.name)
    assert _inside(two, "ls /sys/class/net").split() == ["eth0", "lo"]
    assert engine.recover().lines() == []
    one.stop(timeout=0)
    engine.networks.remove("lan")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "driver macvlan needs an interface of the host: -o parent=eth0"),
        ({"parent": UPLINK, "macvlan_mode": "odd"}, "requested macvlan mode 'odd' is not valid"),
        ({"parent": UPLINK, "color": "red"}, "driver macvlan has no option color"),
    ],
)
def test_networks_that_cannot_be(
    nethost: NetHost, engine: Engine, options: dict[str, str], text: str
) -> None:
    del nethost
    with pytest.raises(errors.KnarrError, match=text):
        engine.networks.create("lan", driver="macvlan", pools=(LAN,), options=options)


def test_passthru_is_alone_beside_an_interface(nethost: NetHost, engine: Engine) -> None:
    del nethost
    _lan(engine, macvlan_mode="passthru")
    with pytest.raises(errors.Forbidden, match=f"network lan is already using .* {UPLINK} in mode"):
        engine.networks.create("other", driver="macvlan", options={"parent": UPLINK})
    engine.networks.remove("lan")
    _lan(engine)
    engine.networks.create("other", driver="macvlan", options={"parent": UPLINK})
    with pytest.raises(errors.Forbidden, match="cannot use mode passthru, macvlan network lan is"):
        engine.networks.create(
            "third", driver="macvlan", options={"parent": UPLINK, "macvlan_mode": "passthru"}
        )


def test_without_a_router_that_was_named_there_is_no_way_out(
    nethost: NetHost, engine: Engine
) -> None:
    del nethost
    pool = Pool(SUBNET, auxiliary={"host": HOST4})
    engine.networks.create("lan", driver="macvlan", pools=(pool,), options={"parent": UPLINK})
    container = _sleeper(engine, "lan")
    assert _inside(container, "ip route").split()[0] == SUBNET
    engine.networks.connect("bridge", container.name, EndpointConfig(""))
    assert "default via 172.17.0.1 dev eth1" in _inside(container, "ip route")


def test_a_parent_that_is_not_connected(nethost: NetHost, engine: Engine) -> None:
    with nethost.beyond(), Netlink() as sock:
        sock.ask(links.set_up(links.index_of("eth0"), up=False))
    _lan(engine)
    container = _sleeper(engine, "lan")
    assert _inside(container, "cat /sys/class/net/eth0/carrier") == "0\n"


def test_a_parent_that_is_not_there(nethost: NetHost, engine: Engine) -> None:
    del nethost
    with pytest.raises(errors.InvalidArgument, match="lan: the requested parent interface eth77"):
        _lan(engine, parent="eth77")
    with pytest.raises(errors.InvalidArgument, match=r"ip link add link eth0 name eth0\.10 t"):
        _lan(engine, parent="eth0.10")
    assert [each.name for each in engine.networks.list()] == ["bridge", "host", "none"]


def test_a_parent_that_has_gone(nethost: NetHost, engine: Engine) -> None:
    del nethost
    with Netlink() as sock:
        sock.ask(links.new_veth("eth77", "eth78"))
        _lan(engine, parent="eth77")
        sock.ask(links.delete_link("eth77"))
    with pytest.raises(errors.KnarrError, match="the requested parent interface eth77 was not"):
        _sleeper(engine, "lan")
