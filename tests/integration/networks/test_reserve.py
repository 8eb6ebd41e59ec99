"""Ports are taken all or none, and who has one is named in Docker's words."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

import pytest

from knarr import errors
from knarr.engine.model import HostPort
from knarr.engine.ports import plan, reserve
from knarr.engine.state import ContainerState
from knarr.runtime import hostports

if TYPE_CHECKING:
    from knarr.engine.engine import Engine

pytestmark = pytest.mark.usefixtures("nethost")

BOTH = plan.Addresses("172.17.0.2", "fd00::2")
ANY = "0.0.0.0"
PREFIX = (
    "failed to set up container networking: driver failed programming external connectivity "
    "on endpoint web: "
)


def taken(*ports: HostPort, at: plan.Addresses = BOTH) -> reserve.Reservation:
    return reserve.reserve(plan.groups(ports, at))


class _Neighbour:
    """A container that runs and has port 8080 of TCP at one address."""

    def __init__(self, address: str) -> None:
        self.name = "db"
        binding = {
            "proto": "tcp", "host_ip": address, "host_port": 8080, "ip": "172.17.0.9", "port": 1,
        }  # fmt: skip
        self.state = ContainerState("running", ports=(binding,))


class _Engine:
    """As much of an engine as is asked who has a port."""

    def __init__(self, *containers: _Neighbour) -> None:
        self.containers = self
        self.list = lambda: list(containers)


def refusal(ports: list[HostPort], *neighbours: _Neighbour) -> errors.KnarrError:
    with pytest.raises(reserve.Refused) as caught:
        taken(*ports)
    engine = cast("Engine", _Engine(*neighbours))
    found = reserve.explained(engine, caught.value, "web")
    assert str(found).startswith(PREFIX)
    return found


def test_a_port_is_taken_for_both_families_and_told_as_bindings() -> None:
    found = taken(HostPort(80, first=8080, last=8080))
    rest: dict[str, Any] = {"proto": "tcp", "host_port": 8080, "port": 80}
    assert found.bindings == [
        {**rest, "host_ip": ANY, "ip": "172.17.0.2"},
        {**rest, "host_ip": "::", "ip": "fd00::2"},
    ]
    os.close(found.handle)


def test_any_port_is_the_same_of_both_families() -> None:
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
        file.write("40000 40009")
    first = taken(HostPort(80), HostPort(81), HostPort(82, "udp"))
    ports = [each["host_port"] for each in first.bindings]
    assert ports[::2] == ports[1::2]
    assert len({*ports[:4]}) == 2
    assert all(40000 <= port <= 40009 for port in ports)
    os.close(first.handle)


def test_of_a_range_the_first_is_taken_that_is_free_everywhere() -> None:
    port = HostPort(80, first=8080, last=8082)
    with closing(hostports.bind("tcp", "::", 8080)):
        first, second = taken(port), taken(port)
        assert [each["host_port"] for each in first.bindings] == [8081, 8081]
        error = refusal([port])
    assert isinstance(error, errors.ResourceExhausted)
    assert "all ports are allocated: none of 8080-8082 is free" in str(error)
    for each in (first, second):
        os.close(each.handle)


def test_a_busy_port_leaves_nothing_taken() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with closing(socket.create_server(("127.0.0.1", 8080))):
        error = refusal([HostPort(80, first=7000, last=7000), HostPort(81, first=8080, last=8080)])
    assert str(error) == (
        f"{PREFIX}failed to bind host port 0.0.0.0:8080/tcp: address already in use"
    )
    assert isinstance(error, errors.Conflict)
    assert len(os.listdir("/proc/self/fd")) == before
    hostports.bind("tcp", ANY, 7000).close()


@pytest.mark.parametrize(("address", "is_its"), [(ANY, True), ("127.0.0.1", True), ("::", False)])
def test_the_container_that_has_it_is_named(address: str, is_its: bool) -> None:
    with closing(hostports.bind("tcp", address if is_its else ANY, 8080)):
        error = refusal([HostPort(80, first=8080, last=8080)], _Neighbour(address))
    named = "Bind for 0.0.0.0:8080 failed: port is already allocated (by container db)"
    assert (named in str(error)) is is_its


def test_an_address_that_the_host_does_not_have_is_named() -> None:
    error = refusal([HostPort(80, "tcp", "192.0.2.7", 8080, 8080)])
    assert isinstance(error, errors.InvalidArgument)
    assert str(error).endswith(
        "failed to bind host port 192.0.2.7:8080/tcp: cannot assign requested address"
    )
