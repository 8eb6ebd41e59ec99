"""Which subnets and addresses are free: arithmetic on values, nothing is kept or asked here.

The order of the pools is Docker's, with one more behind it, so that a machine does not run out
after 31 networks. An address is an integer below, in the range of its family.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from knarr.errors import InvalidArgument, ResourceExhausted
from knarr.networks.definition import Address, Pool, Subnet


class Split(NamedTuple):
    """A block that is cut into subnets of so many bits of prefix."""

    base: Subnet
    bits: int


POOLS4 = (
    *(Split(IPv4Network(f"172.{number}.0.0/16"), 16) for number in range(17, 32)),
    Split(IPv4Network("192.168.0.0/16"), 20),
    Split(IPv4Network("10.0.0.0/8"), 24),
)
_LINK_LOCAL = IPv6Network("fe80::/64")
# No interface can have an address of these, or nobody else reaches it there (RFC 6890).
_MULTICAST = (IPv4Network("224.0.0.0/4"), IPv6Network("ff00::/8"))
_NOBODYS: dict[Subnet, str] = {
    IPv4Network("0.0.0.0/8"): "unspecified",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("255.255.255.255"): "broadcast",
    IPv6Network("::/127"): "loopback",
    IPv6Network("::ffff:0:0/96"): "IPv4",
}


def pools6(seed: bytes) -> tuple[Split, ...]:
    """Return the block of unique local addresses (RFC 4193) that belongs to a seed."""
    digest = hashlib.sha256(seed).digest()
    return (Split(IPv6Network((b"\xfd" + digest[:5] + bytes(10), 48)), 64),)


def free_subnet(pools: Sequence[Split], taken: Iterable[Subnet], bits: int = 0) -> Subnet:
    """Return the first subnet that overlaps with none of those taken.

    bits: another length of prefix than the pools'. Raises InvalidArgument when no pool can have
    such a subnet, ResourceExhausted when all are taken.
    """
    fitting = [Split(base, bits or own) for base, own in pools
               if not bits or base.prefixlen <= bits <= base.max_prefixlen]  # fmt: skip
    if not fitting:
        raise InvalidArgument("invalid address pool")
    spans = [_span(each) for each in taken if each.version == fitting[0].base.version]
    for base, length in fitting:
        at = _first_free(_span(base), 1 << base.max_prefixlen - length, spans)
        if at is not None:
            return IPv4Network((at, length)) if base.version == 4 else IPv6Network((at, length))
    raise ResourceExhausted(
        "all predefined address pools have been fully subnetted: remove networks that are not "
        "used ('knarr network prune'), or give a subnet with --subnet"
    )


def _span(subnet: Subnet) -> tuple[int, int]:
    return int(subnet.network_address), int(subnet.broadcast_address)


def _first_free(block: tuple[int, int], step: int, taken: Sequence[tuple[int, int]]) -> int | None:
    """Return the first multiple of ``step`` in the block from which so many are not taken."""
    at, end = block
    while at + step - 1 <= end:
        hit = [high for low, high in taken if low < at + step and high >= at]
        if not hit:
            return at
        at = (max(hit) // step + 1) * step
    return None


def overlapping(subnet: Subnet, others: Iterable[Subnet]) -> Subnet | None:
    """Return the first of the others that has addresses in common with a subnet."""
    for other in others:
        if other.version == subnet.version and other.overlaps(subnet):
            return other
    return None


def usable(pool: Pool) -> tuple[int, int]:
    """Return the first and the last address that a container of this pool may get.

    Not the subnet's own address, and not the broadcast address, except on links of two
    addresses (RFC 3021); the first address of an IPv6 subnet is every router's (RFC 4291).
    """
    low, high = _span(pool.network)
    if pool.version == 6 or high - low > 1:
        low += 1
    if pool.version == 4 and high - low > 0 and pool.prefix < 31:
        high -= 1
    if pool.range:
        first, last = _span(ip_network(pool.range))
        low, high = max(low, first), min(high, last)
    return low, high


def first_free(low: int, high: int, taken: Iterable[int]) -> int | None:
    """Return the lowest number from low to high that is not in the ascending ``taken``."""
    for each in taken:
        if each > low:
            break
        if each == low:
            low += 1
    return low if low <= high else None


def gateway_of(pool: Pool) -> Address:
    """Return the gateway of a pool for which none was given: its first free address.

    Raises ResourceExhausted.
    """
    low, high = usable(pool)
    others = sorted(int(address) for address in pool.reserved)
    found = first_free(low, high, (each for each in others if each >= low))
    if found is None:
        raise ResourceExhausted(f"subnet {pool.subnet}: no available addresses on this pool")
    return address(pool, found)


def address(pool: Pool, number: int) -> Address:
    """Return a number as an address of the pool's family."""
    return IPv4Address(number) if pool.version == 4 else IPv6Address(number)


def check_pools(pools: Sequence[Pool]) -> None:
    """Raise InvalidArgument, with all that is wrong, for a subnet that cannot be.

    In Docker's words, which has a line for each.
    """
    wrong = [problem for pool in pools for problem in _problems(pool)]
    if wrong:
        raise InvalidArgument(f"invalid network config: {'; '.join(wrong)}")


def _problems(pool: Pool) -> list[str]:
    try:
        subnet = ip_network(pool.subnet, strict=False)
    except ValueError:
        return [f"invalid subnet {pool.subnet}: invalid CIDR block notation"]
    if "/" not in pool.subnet:
        return [f"invalid subnet {pool.subnet}: invalid CIDR block notation"]
    found = []
    if str(subnet) != str(_normal(pool.subnet)):
        found.append(f"invalid subnet {pool.subnet}: it should be {subnet}")
    if overlapping(subnet, _MULTICAST):
        found.append(f"multicast subnet '{subnet}' is not allowed")
    elif not subnet.network_address.is_unspecified:  # else it only says how long it is to be
        hit = overlapping(subnet, _NOBODYS)
        if hit is not None:
            found.append(f"{_NOBODYS[hit]} subnet '{subnet}' is not allowed")
    if subnet != _LINK_LOCAL and overlapping(subnet, (_LINK_LOCAL,)):
        found.append(f"'{subnet}' clashes with the Link-Local prefix 'fe80::/64'")
    found += _range_problems(pool.range, subnet)
    if pool.gateway:
        found += _address_problems(f"invalid gateway {pool.gateway}", pool.gateway, subnet)
    for name, text in pool.auxiliary.items():
        found += _address_problems(f"invalid auxiliary address {name}", text, subnet)
    return found


def _normal(text: str) -> str:
    """Return a subnet as it was written, its address in the usual form."""
    base, _, bits = text.partition("/")
    return f"{ip_address(base)}/{int(bits)}"


def _range_problems(text: str, subnet: Subnet) -> list[str]:
    if not text:
        return []
    try:
        part = ip_network(text, strict=False)
        normal = _normal(text)
    except ValueError:
        return [f"invalid ip-range {text}: invalid CIDR block notation"]
    if part.version != subnet.version:
        return [f"invalid ip-range {text}: parent subnet is an IPv{subnet.version} block"]
    found = []
    if part.prefixlen < subnet.prefixlen:
        found.append(
            f"invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}"
        )
    if str(part) != normal:
        found.append(f"invalid ip-range {text}: it should be {part}")
    if not part.overlaps(subnet):
        found.append(f"invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range")
    return found


def _address_problems(what: str, text: str, subnet: Subnet) -> list[str]:
    try:
        found = ip_address(text)
    except ValueError:
        return [f"{what}: invalid address"]
    if found.version != subnet.version:
        return [f"{what}: parent subnet is an IPv{subnet.version} block"]
    if found not in subnet:
        return [f"{what}: parent subnet {subnet} doesn't contain this address"]
    return []


def mac_of(addresses: Sequence[Address]) -> str:
    """Return the Ethernet address of an endpoint: locally administered, made of its address.

    So a neighbour's table stays true when an address goes to the next container.
    """
    tail = min(addresses, key=lambda each: each.version).packed[-4:]
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + tail)
