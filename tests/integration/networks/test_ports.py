"""Published ports of containers, from the host and from outside."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from knarr import ContainerConfig, HostPort, errors
from knarr.engine.endpointconfig import EndpointConfig
from knarr.kernel import links, nftables
from knarr.kernel.netlink import Netlink
from knarr.kernel.nftables import Nftables
from knarr.supervisor import undo
from tests.support.nethost import HOST4, HOST6, NetHost, answers
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from knarr import Engine
    from knarr.engine.container import Container

ECHO = ("nc", "-ll", "-p", "80", "-e", "cat")


def started(engine: Engine, *words: str, **more: Any) -> Container:
    config = ContainerConfig(
        image="busybox", command=words or ECHO, **{"network": "bridge", **more}
    )
    container = engine.containers.create(config)
    container.start()
    return container


@contextmanager
def ended(*containers: Container) -> Iterator[None]:
    try:
        yield
    finally:
        for each in containers:
            each.remove(force=True)


def test_a_port_is_reached_from_the_host_and_from_outside(nethost: NetHost, engine: Engine) -> None:
    web = started(engine, ports=(HostPort(80, first=8080, last=8080),))
    with ended(web):
        wait_until(lambda: answers(HOST4, 8080), 15)
        with nethost.beyond():
            assert answers(HOST4, 8080)
        assert web.ports == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}
        settings = web.inspect()["HostConfig"]
        assert settings["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    assert not answers(HOST4, 8080)


def test_one_of_the_loopback_address_is_the_hosts_alone(nethost: NetHost, engine: Engine) -> None:
    web = started(engine, ports=(HostPort(80, "tcp", "127.0.0.1", 8080, 8080),))
    with ended(web):
        wait_until(lambda: answers("127.0.0.1", 8080), 15)
        assert not answers(HOST4, 8080)
        with nethost.beyond():
            assert not answers(HOST4, 8080)


def test_a_network_says_where_its_ports_are_published(nethost: NetHost, engine: Engine) -> None:
    option = {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}
    engine.networks.create("inner", ipv6=True, options=option)
    explicit = HostPort(80, "tcp", HOST4, 8081, 8081)
    web = started(engine, network="inner", ports=(HostPort(80, first=8080, last=8080), explicit))
    with ended(web):
        wait_until(lambda: answers("127.0.0.1", 8080), 15)
        assert web.ports["80/tcp"] == [
            {"HostIp": "127.0.0.1", "HostPort": "8080"},
            {"HostIp": HOST4, "HostPort": "8081"},
        ]
        with nethost.beyond():
            assert not answers(HOST4, 8080)
            assert not answers(HOST6, 8080)
            assert answers(HOST4, 8081)


def test_of_both_families(nethost: NetHost, engine: Engine) -> None:
    engine.networks.create("web", ipv6=True)
    web = started(engine, network="web", ports=(HostPort(80),))
    with ended(web):
        four, six = web.ports["80/tcp"] or [{}, {}]
        assert (four["HostIp"], six["HostIp"]) == ("0.0.0.0", "::")
        assert four["HostPort"] == six["HostPort"]
        port = int(four["HostPort"])
        wait_until(lambda: answers(HOST4, port), 15)
        with nethost.beyond():
            wait_until(lambda: answers(HOST6, port))


@pytest.mark.usefixtures("nethost")
def test_a_busy_port_is_told_before_anything_is_started(engine: Engine) -> None:
    port = (HostPort(80, first=8080, last=8080),)
    one = started(engine, ports=port)
    with ended(one):
        before = _interfaces()
        other = engine.containers.create(
            ContainerConfig(image="busybox", command=("true",), network="bridge", ports=port)
        )
        with pytest.raises(errors.Conflict) as caught:
            other.start()
        assert str(caught.value).endswith(
            f"on endpoint {other.name}: Bind for 0.0.0.0:8080 failed: port is already allocated "
            f"(by container {one.name})"
        )
        assert other.status == "created"
        assert other.state.exit_code == 128
        assert _interfaces() == before
    other.start()
    other.wait()
    busy = r"0\.0\.0\.0:8080/tcp: address already in use"
    with closing(socket.create_server(("", 8080))), pytest.raises(errors.Conflict, match=busy):
        other.start()
    other.remove()


def _interfaces() -> set[str]:
    with Netlink() as sock:
        return set(links.names(sock))


@pytest.mark.usefixtures("nethost")
def test_ports_are_free_again_at_once(engine: Engine) -> None:
    port = (HostPort(80, first=8080, last=8080),)
    one, other = started(engine, ports=port), None
    for _ in range(5):
        one.stop(timeout=0)
        other = started(engine, ports=port)
        one.remove()
        one = other
    one.restart(timeout=0)
    wait_until(lambda: answers(HOST4, 8080), 15)
    one.remove(force=True)


@pytest.mark.usefixtures("nethost")
def test_ports_follow_the_default_route(engine: Engine) -> None:
    for name in ("one", "two"):
        engine.networks.create(name)
    web = started(engine, network="one", ports=(HostPort(80, first=8080, last=8080),))
    with ended(web):
        wait_until(lambda: answers(HOST4, 8080), 15)
        engine.networks.connect("two", web.name, EndpointConfig("two"))
        assert answers(HOST4, 8080)
        engine.networks.disconnect("one", web.name)
        assert answers(HOST4, 8080)
        engine.networks.disconnect("two", web.name)
        assert not answers(HOST4, 8080)
        engine.networks.connect("one", web.name, EndpointConfig("one"))
        assert answers(HOST4, 8080)
    assert not answers(HOST4, 8080)


@pytest.mark.usefixtures("nethost")
def test_a_firewall_that_is_made_anew_has_the_ports(engine: Engine) -> None:
    web = started(engine, ports=(HostPort(80, first=8080, last=8080),))
    with ended(web):
        wait_until(lambda: answers(HOST4, 8080), 15)
        firewall = engine.networks.on_host.firewall
        with Nftables() as link:
            link.commit([nftables.delete_table(nftables.INET, firewall.table)])
        assert not answers(HOST4, 8080)
        engine.networks.on_host.restore()
        assert answers(HOST4, 8080)


@pytest.mark.usefixtures("nethost")
def test_what_is_exposed_is_published_where_all_is(engine: Engine) -> None:
    web = started(engine, expose=("80/tcp", "53/udp"), publish_all=True)
    with ended(web):
        assert sorted(web.ports) == ["53/udp", "80/tcp"]
        for places in web.ports.values():
            assert [each["HostIp"] for each in places or ()] == ["0.0.0.0"]
        port = int((web.ports["80/tcp"] or [])[0]["HostPort"])
        wait_until(lambda: answers(HOST4, port), 15)
        config = web.inspect()["Config"]
        assert config["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}}
    internal = engine.networks.create("inner", internal=True)
    apart = started(engine, network=internal.name, expose=("80/tcp",), publish_all=True)
    with ended(apart):
        assert apart.ports == {"80/tcp": None}


@pytest.mark.usefixtures("nethost")
def test_many_at_once_get_ports_of_their_own(engine: Engine) -> None:
    with ThreadPoolExecutor(20) as pool:
        asked = [
            pool.submit(started, engine, "sleep", "600", ports=(HostPort(80),)) for _ in "x" * 20
        ]
        found = [each.result() for each in asked]
    with ended(*found):
        places = [each.ports["80/tcp"] or [] for each in found]
        assert len({place["HostPort"] for each in places for place in each}) == 20


@pytest.mark.usefixtures("nethost")
def test_an_old_record_of_what_is_to_be_undone_takes_no_port_from_its_next_owner(
    engine: Engine,
) -> None:
    port = (HostPort(80, first=8080, last=8080),)
    old = started(engine, ports=port)
    record = Path(old.paths.run, "undo").read_text()
    old.kill("KILL")
    old.wait()
    with ended(old, started(engine, ports=port)):
        wait_until(lambda: answers(HOST4, 8080), 15)
        wait_until(lambda: not old.paths.supervisor_lives())
        Path(old.paths.run, "undo").write_text(record)
        assert undo.replay(old.paths.run) == []
        assert answers(HOST4, 8080)
