"""Choosing subnets and addresses."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.errors import InvalidArgument, ResourceExhausted
from knarr.networks import ipam
from knarr.networks.definition import Pool, Subnet


def test_the_first_networks_get_dockers_subnets() -> None:
    taken: list[Subnet] = []
    for _ in range(40):
        taken.append(ipam.free_subnet(ipam.POOLS4, taken))
    texts = [str(each) for each in taken]
    assert texts[:2] == ["172.17.0.0/16", "172.18.0.0/16"]
    assert texts[14:17] == ["172.31.0.0/16", "192.168.0.0/20", "192.168.16.0/20"]
    assert texts[30:33] == ["192.168.240.0/20", "10.0.0.0/24", "10.0.1.0/24"]


def test_what_overlaps_is_left_out_in_whole() -> None:
    taken = [ip_network(text) for text in ("172.16.0.0/12", "192.168.0.0/17", "10.0.0.0/9")]
    assert str(ipam.free_subnet(ipam.POOLS4, taken)) == "192.168.128.0/20"
    taken += [ip_network("192.168.128.0/17"), ip_network("10.128.0.7/32")]
    assert str(ipam.free_subnet(ipam.POOLS4, taken)) == "10.128.1.0/24"


@given(
    st.lists(
        st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 30)).map(
            lambda each: IPv4Network(each, strict=False)
        ),
        max_size=30,
    ),
    st.sampled_from([0, 24, 28]),
)
def test_a_free_subnet_overlaps_with_none(taken: list[IPv4Network], bits: int) -> None:
    found = ipam.free_subnet(ipam.POOLS4, taken, bits)
    assert not any(found.overlaps(each) for each in taken)
    assert any(found.subnet_of(base) for base, _ in ipam.POOLS4)  # type: ignore[arg-type]


def test_no_subnet_is_left() -> None:
    with pytest.raises(ResourceExhausted, match="fully subnetted: remove networks"):
        ipam.free_subnet(ipam.POOLS4, [ip_network("0.0.0.0/0")])
    with pytest.raises(InvalidArgument, match="invalid address pool"):
        ipam.free_subnet(ipam.POOLS4, [], 4)


def test_ipv6_subnets_are_the_machines_own() -> None:
    one = ipam.free_subnet(ipam.pools6(b"one"), [])
    assert isinstance(one, IPv6Network)
    assert one.prefixlen == 64
    assert one.subnet_of(IPv6Network("fd00::/8"))
    assert ipam.free_subnet(ipam.pools6(b"one"), [one]) != one
    assert ipam.free_subnet(ipam.pools6(b"two"), []) != one


@pytest.mark.parametrize(
    ("pool", "first", "last"),
    [
        (Pool("10.1.0.0/16"), "10.1.0.1", "10.1.255.254"),
        (Pool("10.1.0.0/16", "10.1.5.0/24"), "10.1.5.0", "10.1.5.255"),
        (Pool("10.1.0.0/16", "10.1.255.0/24"), "10.1.255.0", "10.1.255.254"),
        (Pool("10.1.0.0/30"), "10.1.0.1", "10.1.0.2"),
        (Pool("10.1.0.0/31"), "10.1.0.0", "10.1.0.1"),
        (Pool("10.1.0.4/32"), "10.1.0.4", "10.1.0.4"),
        (Pool("fd00::/64"), "fd00::1", "fd00::ffff:ffff:ffff:ffff"),
    ],
)
def test_addresses_of_a_pool(pool: Pool, first: str, last: str) -> None:
    assert ipam.usable(pool) == (int(ip_address(first)), int(ip_address(last)))


@given(st.sets(st.integers(0, 30)), st.integers(0, 20), st.integers(0, 20))
def test_the_first_free_number(taken: set[int], low: int, size: int) -> None:
    free = [each for each in range(low, low + size + 1) if each not in taken]
    assert ipam.first_free(low, low + size, sorted(taken)) == (free[0] if free else None)


def test_gateways() -> None:
    assert str(ipam.gateway_of(Pool("10.1.0.0/24"))) == "10.1.0.1"
    assert str(ipam.gateway_of(Pool("10.1.0.0/24", auxiliary={"a": "10.1.0.1"}))) == "10.1.0.2"
    assert str(ipam.gateway_of(Pool("fd00::/64"))) == "fd00::1"
    with pytest.raises(ResourceExhausted, match="no available addresses"):
        ipam.gateway_of(Pool("10.1.0.1/32", auxiliary={"a": "10.1.0.1"}))


@pytest.mark.parametrize(
    ("pool", "problem"),
    [
        (Pool("banana"), "invalid subnet banana: invalid CIDR block notation"),
        (Pool("10.1.0.0"), "invalid subnet 10.1.0.0: invalid CIDR block notation"),
        (Pool("10.1.2.3/16"), "invalid subnet 10.1.2.3/16: it should be 10.1.0.0/16"),
        (Pool("fe80::/60"), "'fe80::/60' clashes with the Link-Local prefix 'fe80::/64'"),
        (Pool("ff02::/64"), "multicast subnet 'ff02::/64' is not allowed"),
        (Pool("239.1.0.0/16"), "multicast subnet '239.1.0.0/16' is not allowed"),
        (Pool("192.0.0.0/2"), "multicast subnet '192.0.0.0/2' is not allowed"),
        (Pool("127.0.0.0/8"), "loopback subnet '127.0.0.0/8' is not allowed"),
        (Pool("64.0.0.0/2"), "loopback subnet '64.0.0.0/2' is not allowed"),
        (Pool("0.1.0.0/16"), "unspecified subnet '0.1.0.0/16' is not allowed"),
        (Pool("255.255.255.0/24"), "broadcast subnet '255.255.255.0/24' is not allowed"),
        (Pool("::1/128"), "loopback subnet '::1/128' is not allowed"),
        (Pool("::ffff:a00:0/104"), "IPv4 subnet '::ffff:a00:0/104' is not allowed"),
        (Pool("10.1.0.0/16", "10.2.0.0/24"),
         "invalid ip-range 10.2.0.0/24: parent subnet 10.1.0.0/16 doesn't contain ip-range"),
        (Pool("10.1.0.0/16", "10.0.0.0/8"),
         "invalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet 10.1.0.0/16"),
        (Pool("10.1.0.0/16", "10.1.1.1/24"),
         "invalid ip-range 10.1.1.1/24: it should be 10.1.1.0/24"),
        (Pool("10.1.0.0/16", "fd00::/64"),
         "invalid ip-range fd00::/64: parent subnet is an IPv4 block"),
        (Pool("10.1.0.0/16", gateway="10.2.0.1"),
         "invalid gateway 10.2.0.1: parent subnet 10.1.0.0/16 doesn't contain this address"),
        (Pool("10.1.0.0/16", auxiliary={"router": "fd00::1"}),
         "invalid auxiliary address router: parent subnet is an IPv4 block"),
    ],
)  # fmt: skip
def test_subnets_that_cannot_be(pool: Pool, problem: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ipam.check_pools([pool])
    assert str(caught.value) == f"invalid network config: {problem}"


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InvalidArgument, match=r"banana.*; invalid gateway 1\.1\.1\.1"):
        ipam.check_pools([Pool("banana"), Pool("10.1.0.0/16", gateway="1.1.1.1")])
    ipam.check_pools([Pool("10.1.0.0/16", "10.1.4.0/24", "10.1.4.9", {"a": "10.1.9.9"})])
    for good in ("0.0.0.0/24", "::/64", "169.254.9.0/24", "240.1.0.0/16", "fe80::/64"):
        ipam.check_pools([Pool(good)])


def test_ethernet_addresses() -> None:
    both = [ip_address("fd00::aabb:ccdd"), ip_address("172.18.0.2")]
    assert ipam.mac_of(both) == "02:42:ac:12:00:02"
    assert ipam.mac_of(both[:1]) == "02:42:aa:bb:cc:dd"
