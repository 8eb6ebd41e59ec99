"""Containers of the engine on networks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from knarr import Container, Engine, errors
from knarr.engine.model import ContainerConfig, HostPort
from knarr.runtime.network import Inside
from tests.support.nethost import (
    HOST4,
    HOST6,
    OUTSIDE4,
    OUTSIDE6,
    UPLINK,
    NetHost,
    inside,
    qdiscs,
    sysctl,
)
from tests.support.waiting import PATIENCE, wait_until


def config(*words: str, network: str) -> ContainerConfig:
    return ContainerConfig(image="busybox", command=words, network=network)


def launch(engine: Engine, *words: str, network: str) -> Container:
    container, _ = engine.containers.launch(config(*words, network=network), attach=False)
    return container


@contextmanager
def serving(nethost: NetHost, address: str) -> Iterator[socket.socket]:
    """A server in the outside world."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with nethost.beyond():
        server = socket.create_server((address, 0), family=family)
    server.settimeout(PATIENCE)
    with server:
        yield server


@pytest.mark.parametrize(("there", "seen"), [(OUTSIDE4, HOST4), (OUTSIDE6, HOST6)])
def test_a_container_reaches_the_outside_world(
    nethost: NetHost, engine: Engine, there: str, seen: str
) -> None:
    engine.networks.create("web", ipv6=True)
    with serving(nethost, there) as server:
        port = server.getsockname()[1]
        one = launch(engine, "sh", "-c", f"echo hello | nc {there} {port}", network="web")
        taken, peer = server.accept()
        with taken:
            assert taken.recv(10) == b"hello\n"
            assert peer[0] == seen  # the host's: the container's own is nobody's there
        assert one.wait().exit_code == 0


def test_who_comes_later_is_no_router_of_the_host(nethost: NetHost, engine: Engine) -> None:
    before = sysctl(f"ipv6/conf/{UPLINK}/accept_ra"), sysctl("ipv6/conf/default/accept_ra")
    assert before == ("1", "1")
    network = engine.networks.create("web", ipv6=True)
    assert engine.containers.run(config("true", network="web")).exit_code == 0
    assert sysctl("ipv6/conf/all/forwarding") == "1"
    assert sysctl(f"ipv6/conf/{UPLINK}/accept_ra") == "2"  # it keeps its routes
    assert sysctl("ipv6/conf/default/accept_ra") == "1"  # which a router does not follow
    assert sysctl(f"ipv6/conf/br-{network.id[:12]}/accept_ra") == "0"


def test_an_internal_network_leads_nowhere(nethost: NetHost, engine: Engine) -> None:
    engine.networks.create("inner", internal=True)
    script = f"nc -w 1 {OUTSIDE4} 9 2>&1; ip route"
    result = engine.containers.run(config("sh", "-c", script, network="inner"))
    assert b"unreachable" in result.stdout
    assert b"default" not in result.stdout


def test_a_network_that_there_is_not(nethost: NetHost, engine: Engine) -> None:
    with pytest.raises(errors.NotFound, match="network nowhere not found"):
        engine.containers.run(config("true", network="nowhere"))


def test_containers_of_the_default_network_reach_each_other(
    nethost: NetHost, engine: Engine
) -> None:
    server = launch(engine, "sh", "-c", "ip -o -4 addr show eth0; nc -l -p 7000", network="bridge")
    address = ""
    for line in server.logs(follow=True):
        address = line.data.split()[3].decode().partition("/")[0]
        break
    script = f"until echo hi | nc {address} 7000; do :; done"
    assert engine.containers.run(config("sh", "-c", script, network="bridge")).exit_code == 0
    assert server.wait().exit_code == 0


def test_containers_find_each_other_by_name(nethost: NetHost, engine: Engine) -> None:
    engine.networks.create("web")
    server = ContainerConfig(
        image="busybox", command=("nc", "-l", "-p", "7000"), network="web", name="server"
    )
    one, _ = engine.containers.launch(server, attach=False)
    result = engine.containers.run(config("nslookup", "server", "127.0.0.11", network="web"))
    assert b"Address: 172." in result.stdout, result
    one.remove(force=True)
    asked = ("nslookup", "server", "127.0.0.11")
    # Nobody answers there, and says so at once.
    other = ContainerConfig(image="busybox", command=asked, network="web", dns=(OUTSIDE4,))
    gone = engine.containers.run(other)
    assert gone.exit_code != 0


def test_its_files_say_who_it_is_and_whom_it_asks(nethost: NetHost, engine: Engine) -> None:
    engine.networks.create("web")
    asked = ContainerConfig(
        image="busybox", command=("cat", "/etc/hosts", "/etc/resolv.conf"), network="web",
        hostname="box.example", dns=(OUTSIDE4,),
    )  # fmt: skip
    said = engine.containers.run(asked).stdout.decode()
    assert "\tbox.example box\n" in said
    assert "nameserver 127.0.0.11\n" in said
    assert OUTSIDE4 in said
    plain = engine.containers.run(config("cat", "/etc/resolv.conf", network="bridge"))
    assert b"127.0.0.11" not in plain.stdout
    assert b"nameserver" in plain.stdout


@pytest.mark.parametrize("there", [HOST4, "127.0.0.1", HOST6])
def test_a_published_port_leads_to_the_container(
    nethost: NetHost, engine: Engine, there: str
) -> None:
    engine.networks.create("web", ipv6=True)
    port = HostPort(80, first=8080, last=8080)
    served = ContainerConfig(
        image="busybox", command=("nc", "-ll", "-p", "80", "-e", "echo", "hello"), network="web",
        ports=(port,),
    )  # fmt: skip
    one, _ = engine.containers.launch(served, attach=False)
    space = nethost.host if there.startswith("127.") else nethost.outside
    with inside(space):
        said: list[bytes] = []
        wait_until(lambda: _say(there, said))  # until it listens
        assert said == [b"hello\n"]
    one.remove(force=True)
    with pytest.raises(OSError, match="refused"):
        _say(there, said, patiently=False)


def _say(address: str, said: list[bytes], *, patiently: bool = True) -> bool:
    """Take down what is said at port 8080; return False when nobody listens yet."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(PATIENCE)
        try:
            client.connect((address, 8080))
        except ConnectionRefusedError:
            if patiently:
                return False
            raise
        said.append(client.recv(100))
    return True


def test_rates_are_limited(nethost: NetHost, engine: Engine) -> None:
    del nethost
    slow = ContainerConfig(
        image="busybox", command=("sleep", "1000"), network="bridge",
        network_rate_in=80_000_000, network_rate_out=800_000,
    )  # fmt: skip
    container, _ = engine.containers.launch(slow, attach=False)
    assert b"tbf" in qdiscs()
    with Inside(container.state.pid):
        assert b"tbf" in qdiscs()
    limits = container.inspect()["HostConfig"]
    assert (limits["NetworkRateIn"], limits["NetworkRateOut"]) == (80_000_000, 800_000)


def test_a_rate_that_would_not_hold_is_refused(nethost: NetHost, engine: Engine) -> None:
    del nethost
    limited = ContainerConfig(image="busybox", network="none", network_rate_in=10**6)
    with pytest.raises(errors.InvalidArgument, match="no interface whose rate"):
        engine.containers.create(limited)
    able = ContainerConfig(
        image="busybox", network="bridge", network_rate_out=10**6, cap_add=("NET_ADMIN",)
    )
    with pytest.raises(errors.InvalidArgument, match="NET_ADMIN could lift"):
        engine.containers.create(able)
