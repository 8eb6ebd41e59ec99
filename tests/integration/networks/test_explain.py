"""What an explanation tells of networks, beside what is there inside and outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from knarr import Container, ContainerConfig, Engine, ExecConfig
from knarr.cli import explaining
from knarr.engine.model import HostPort
from knarr.kernel import links
from knarr.kernel.netlink import Netlink
from tests.support.nethost import NetHost


@pytest.fixture
def container(engine: Engine, nethost: NetHost) -> Iterator[Container]:
    """One on a network of its own, with a port."""
    del nethost
    engine.networks.create("app", ipv6=True)
    config = ContainerConfig(
        "busybox", ("sleep", "1000"), network="app", ports=(HostPort(80, first=8080, last=8080),)
    )
    container, _ = engine.containers.launch(config, attach=False)
    yield container
    container.remove(force=True)
    engine.networks.remove("app")


def output(container: Container, *words: str) -> str:
    return container.exec_run(ExecConfig(words)).text


def test_interfaces_with_their_ends_at_the_host(engine: Engine, container: Container) -> None:
    found = container.explain()["Network"]
    assert found["Mode"] == "app"
    by = {each["Name"]: each for each in found["Interfaces"]}
    assert set(by) == {"lo", "eth0"}
    assert by["lo"]["Addresses"] == ["127.0.0.1/8", "::1/128"]
    eth0 = by["eth0"]
    assert (eth0["Kind"], eth0["Up"]) == ("veth", True)
    mine = output(container, "cat", "/sys/class/net/eth0/address", "/sys/class/net/eth0/mtu",
                  "/sys/class/net/eth0/ifindex", "/sys/class/net/eth0/iflink").split()  # fmt: skip
    assert [eth0["Mac"], str(eth0["Mtu"]), str(eth0["Index"]), str(eth0["PeerIndex"])] == mine
    assert links.index_of(eth0["Peer"]) == eth0["PeerIndex"]
    assert eth0["Bridge"] == f"br-{engine.networks.get('app').id[:12]}"
    with Netlink() as sock:
        assert links.kind_of(sock, eth0["Bridge"]) == "bridge"
    shown = output(container, "ip", "addr", "show", "eth0")
    assert len(eth0["Addresses"]) >= 2
    assert all(address in shown for address in eth0["Addresses"])


def test_routes_networks_ports_and_names(engine: Engine, container: Container) -> None:
    found = container.explain()["Network"]
    told = container.inspect()["NetworkSettings"]
    assert found["Networks"] == told["Networks"]
    assert found["Ports"] == told["Ports"]
    gateway = told["Networks"]["app"]["Gateway"]
    default = [each for each in found["Routes"] if each["Destination"] == "default"]
    assert {"Destination": "default", "Gateway": gateway, "Interface": "eth0"} in default
    shown = output(container, "ip", "route")
    subnet = next(each["Destination"] for each in found["Routes"]
                  if "." in each["Destination"])  # fmt: skip
    assert f"default via {gateway}" in shown
    assert subnet in shown
    assert found["Resolver"]["Servers"] == ["127.0.0.11"]
    text = explaining.text(container.explain())
    assert "8080->80/tcp" in text
    assert f"route default via {gateway} over eth0" in text
    assert f"network app ({engine.networks.get('app').id[:12]})" in text


def test_the_steps_of_a_start_with_a_network(engine: Engine, container: Container) -> None:
    del container
    told: list[dict[str, Any]] = []
    config = ContainerConfig("busybox", ("sleep", "1000"), network="app")
    other, _ = engine.containers.launch(config, attach=False, explained=told.append)
    names = [each["Step"] for each in told[0]["Start"]["Steps"]]
    assert names.index("network") < names.index("record")
    took = {each["Step"]: each["Took"] for each in told[0]["Start"]["Steps"]}
    assert took["network"] > 0
    other.remove(force=True)


def test_none_and_the_hosts(engine: Engine, nethost: NetHost) -> None:
    del nethost
    for mode, names in (("none", ["lo"]), ("host", [])):
        config = ContainerConfig("busybox", ("sleep", "1000"), network=mode)
        container, _ = engine.containers.launch(config, attach=False)
        found = container.explain()["Network"]
        assert (found["Mode"], [each["Name"] for each in found["Interfaces"]]) == (mode, names)
        container.remove(force=True)
