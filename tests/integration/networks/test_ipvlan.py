"""Containers behind the Ethernet address of one of the host's interfaces."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from knarr import Container, ContainerConfig, Engine, ExecConfig, errors
from knarr.engine.endpointconfig import EndpointConfig
from knarr.kernel import links
from knarr.kernel.netlink import Netlink, NetlinkError
from knarr.networks.definition import Pool
from tests.support.nethost import HOST4, HOST6, OUTSIDE4, PREFIX4, UPLINK, NetHost
from tests.support.waiting import PATIENCE

LAN = Pool(f"198.51.100.0/{PREFIX4}", gateway=OUTSIDE4, auxiliary={"host": HOST4})
ROUTED = Pool("203.0.113.0/24")
ROUTED6 = Pool("2001:db8:1::/64")


def _can(mode: str) -> bool:
    """Return whether the kernel has such interfaces."""
    with Netlink() as sock:
        sock.ask(links.new_veth("one", "two"))
        try:
            sock.ask(links.new_ipvlan("beside", links.index_of("one"), mode=mode))
        except NetlinkError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            return False
        finally:
            sock.ask(links.delete_link("one"))
    return True


def _create(engine: Engine, *pools: Pool, **options: str) -> None:
    engine.networks.create(
        "lan", driver="ipvlan", pools=pools, ipv6=any(pool.version == 6 for pool in pools),
        options={"parent": UPLINK, **options},
    )  # fmt: skip


def _launch(engine: Engine, *command: str) -> Container:
    config = ContainerConfig(image="busybox", command=command, network="lan")
    return engine.containers.launch(config, attach=False).container


def _inside(container: Container, script: str) -> str:
    return container.exec_run(ExecConfig(("sh", "-c", script))).stdout.decode()


def _greeted(nethost: NetHost, engine: Engine, family: int, address: str) -> str:
    """Have a container greet somebody outside; return from which address he was."""
    with nethost.beyond():
        server = socket.create_server((address, 0), family=family)
    server.settimeout(PATIENCE)
    with server:
        port = server.getsockname()[1]
        container = _launch(engine, "sh", "-c", f"echo hi | nc {address} {port}")
        taken, peer = server.accept()
        with taken:
            taken.settimeout(PATIENCE)
            assert taken.recv(10) == b"hi\n"
    assert container.wait(PATIENCE).exit_code == 0
    return str(peer[0])


@pytest.mark.vm
def test_in_mode_l2_it_is_a_neighbour(nethost: NetHost, engine: Engine) -> None:
    if not _can("l2"):
        pytest.skip("this kernel has no ipvlan")
    _create(engine, LAN)
    assert _greeted(nethost, engine, socket.AF_INET, OUTSIDE4) == "198.51.100.3"
    one, two = _launch(engine, "sleep", "1000"), _launch(engine, "sleep", "1000")
    shown = two.inspect()["NetworkSettings"]["Networks"]["lan"]
    assert (shown["MacAddress"], shown["Gateway"]) == ("", OUTSIDE4)
    address = shown["IPAddress"]
    assert _inside(one, f"ping -c 1 -w 5 {address} >&2 && echo good") == "good\n"
    engine.networks.connect("bridge", one.name, EndpointConfig(""))
    engine.networks.disconnect("lan", one.name)
    assert _inside(one, "ls /sys/class/net").split() == ["eth1", "lo"]
    engine.networks.connect("lan", one.name, EndpointConfig("", priority=1))
    assert _inside(one, "ls /sys/class/net").split() == ["eth0", "eth1", "lo"]
    assert f"default via {OUTSIDE4} dev eth0" in _inside(one, "ip route")
    assert engine.recover().lines() == []
    two.remove(force=True)
    one.stop(timeout=0)
    engine.networks.remove("lan")


@pytest.mark.vm
@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_in_mode_l3_the_host_sends_for_it(nethost: NetHost, engine: Engine, mode: str) -> None:
    if not _can(mode):
        pytest.skip(f"this kernel has no ipvlan of mode {mode}")
    _create(engine, ROUTED, ROUTED6, ipvlan_mode=mode)
    with nethost.beyond(), Netlink() as sock:
        index = links.index_of("eth0")
        sock.ask(
            links.new_route(index, HOST4, "203.0.113.0", 24),
            links.new_route(index, HOST6, "2001:db8:1::", 64),
        )
    assert _greeted(nethost, engine, socket.AF_INET, OUTSIDE4) == "203.0.113.1"
    container = _launch(engine, "sh", "-c", "ip route; ip -6 route; sleep 1000")
    assert "default dev eth0" in _inside(container, "ip route")
    assert "default dev eth0" in _inside(container, "ip -6 route")
    shown = container.inspect()["NetworkSettings"]["Networks"]["lan"]
    assert (shown["Gateway"], shown["IPv6Gateway"]) == ("", "")
    container.remove(force=True)


@pytest.mark.vm
def test_private_ones_do_not_reach_each_other(nethost: NetHost, engine: Engine) -> None:
    if not _can("l2"):
        pytest.skip("this kernel has no ipvlan")
    _create(engine, LAN, ipvlan_flag="private")
    one, two = _launch(engine, "sleep", "1000"), _launch(engine, "sleep", "1000")
    address = two.inspect()["NetworkSettings"]["Networks"]["lan"]["IPAddress"]
    assert _inside(one, f"ping -c 1 -w 5 {OUTSIDE4} >&2 && echo good") == "good\n"
    assert _inside(one, f"ping -c 1 -w 1 {address} >&2 || echo alone") == "alone\n"
    two.remove(force=True)
    one.remove(force=True)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"parent": ""}, "driver ipvlan needs an interface of the host: -o parent=eth0"),
        ({"parent": "lo"}, "loopback interface is not a valid ipvlan parent link"),
        ({"ipvlan_mode": "l4"}, "requested ipvlan mode 'l4' is not valid, 'l2' mode is the"),
        ({"ipvlan_flag": "odd"}, "requested ipvlan flag 'odd' is not valid, 'bridge' is the"),
        ({"macvlan_mode": "vepa"}, "driver ipvlan has no option macvlan_mode"),
    ],
)
def test_networks_that_cannot_be(
    nethost: NetHost, engine: Engine, options: dict[str, Any], text: str
) -> None:
    del nethost
    with pytest.raises(errors.KnarrError, match=text):
        _create(engine, LAN, **options)


def test_an_interface_is_of_one_network(nethost: NetHost, engine: Engine) -> None:
    del nethost
    _create(engine, LAN)
    with pytest.raises(errors.Forbidden, match=f"network lan is already using parent .* {UPLINK}"):
        engine.networks.create("other", driver="ipvlan", options={"parent": UPLINK})


def test_there_is_no_ethernet_address_to_choose(nethost: NetHost, engine: Engine) -> None:
    del nethost
    _create(engine, LAN)
    config = ContainerConfig(
        image="busybox", command=("true",), network="lan",
        endpoints=(EndpointConfig("lan", mac="02:42:00:00:00:09"),),
    )  # fmt: skip
    with pytest.raises(errors.InvalidArgument, match="ipvlan interfaces do not support custom mac"):
        engine.containers.launch(config, attach=False)


def test_a_kernel_without_it_says_so(nethost: NetHost, engine: Engine) -> None:
    del nethost
    if _can("l2"):
        pytest.skip("this kernel has ipvlan")
    _create(engine, LAN)
    with pytest.raises(
        errors.KnarrError, match=f"no ipvlan interface beside {UPLINK}: .*this kernel has no ipvlan"
    ):
        _launch(engine, "true")
    (left,) = engine.containers.list(all=True)
    left.remove(force=True)
