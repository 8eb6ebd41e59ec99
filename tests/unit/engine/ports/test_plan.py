"""What is wanted of the host, family by family, in the order in which it is taken."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.engine.model import ContainerConfig, HostPort
from knarr.engine.ports import plan
from knarr.engine.ports.plan import Addresses, Request
from knarr.errors import InvalidArgument, Unsupported

FOUR = Addresses("172.17.0.2", "")
BOTH = Addresses("172.17.0.2", "fd00::2")


def test_a_port_is_taken_at_all_addresses_of_the_families_that_the_container_has() -> None:
    port = HostPort(80, first=8080, last=8080)
    request = Request(80, "tcp", 8080, 8080, "0.0.0.0", "172.17.0.2")
    assert plan.groups([port], FOUR) == [[request]]
    assert plan.groups([port], BOTH) == [[request, request._replace(address="::", ip="fd00::2")]]


def test_exact_ports_come_first_and_one_port_is_for_both_families() -> None:
    ports = [
        HostPort(90),
        HostPort(70, first=7000, last=7010),
        HostPort(60, "udp", "", 5000, 5000),
        HostPort(60, "tcp", "127.0.0.1", 5000, 5000),
        HostPort(60, "tcp", "fd00::9", 5000, 5000),
    ]
    found = [[(each.port, each.protocol, each.address) for each in group]
             for group in plan.groups(ports, BOTH)]  # fmt: skip
    assert found == [
        [(60, "tcp", "127.0.0.1"), (60, "tcp", "fd00::9")],
        [(60, "udp", "0.0.0.0"), (60, "udp", "::")],
        [(70, "tcp", "0.0.0.0"), (70, "tcp", "::")],
        [(90, "tcp", "0.0.0.0"), (90, "tcp", "::")],
    ]


@pytest.mark.parametrize(
    ("address", "at", "reason"),
    [
        ("2001:db8::1", FOUR, "the container has no IPv6 address"),
        ("127.0.0.1", Addresses("", "fd00::2"), "the container has no IPv4 address"),
        ("::1", BOTH._replace(loopback6=False), "cannot be published at ::1 while"),
    ],
)
def test_an_address_from_which_nothing_can_lead_there_is_refused(
    address: str, at: Addresses, reason: str
) -> None:
    with pytest.raises(Unsupported, match=reason):
        plan.groups([HostPort(80, address=address)], at)


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (BOTH._replace(host4="", host6="::1", loopback6=False), "cannot be published at ::1 while"),
        (FOUR._replace(host4="", host6="::1"), "::1: the container has no IPv6 address"),
        (Addresses("", "fd00::2", host4="127.0.0.1", host6=""), "has no IPv4 address"),
    ],
)
def test_nor_from_the_address_at_which_a_network_has_its_ports(at: Addresses, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        plan.groups([HostPort(80)], at)


def test_a_network_may_have_its_ports_at_one_address() -> None:
    for at, host in (
        (BOTH._replace(host4="", host6="::1"), "::1"),
        (BOTH._replace(host4="127.0.0.1", host6=""), "127.0.0.1"),
    ):
        assert [each.address for group in plan.groups([HostPort(80)], at) for each in group] == [
            host
        ]


def test_publish_all_is_for_what_is_exposed_and_not_published() -> None:
    image: dict[str, Any] = {"ExposedPorts": {"80/tcp": {}, "53/UDP": {}}}
    said = HostPort(80, first=8080, last=8080)
    config = ContainerConfig("x", ports=(said,), expose=("9/sctp",), publish_all=True)
    assert plan.exposed(config, image) == ("80/tcp", "53/UDP", "9/sctp")
    assert plan.wanted(config, image) == (said, HostPort(53, "udp"), HostPort(9, "sctp"))
    assert plan.wanted(ContainerConfig("x", ports=(said,)), image) == (said,)


@pytest.mark.parametrize("port", ["x/tcp", "70000/tcp", "80/foo", "/tcp"])
def test_an_image_may_expose_nonsense_until_that_is_published(port: str) -> None:
    config = ContainerConfig("x", publish_all=True)
    with pytest.raises(InvalidArgument):
        plan.wanted(config, {"ExposedPorts": {port: {}}})


def test_a_container_is_published_where_its_default_route_is() -> None:
    inner = {"driver": "bridge", "gateways": [], "addresses": ["10.0.0.2/24"]}
    outer = {
        "driver": "bridge", "gateways": ["172.17.0.1", "fd00::1"],
        "addresses": ["172.17.0.2/16", "fd00::2/64"],
    }  # fmt: skip
    assert plan.addresses([inner, outer]) == BOTH
    assert plan.addresses([inner]) is None
    assert plan.addresses([{**outer, "gateways": ["fd00::1"]}]) == Addresses("", "fd00::2")
    assert plan.addresses([{**outer, "driver": "macvlan"}]) is None
