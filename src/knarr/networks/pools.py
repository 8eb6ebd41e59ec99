"""From the flags of ``network create`` to pools: which range and gateway belongs to which subnet.

The rules and texts are those of Docker's command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network

from knarr.errors import InvalidArgument
from knarr.networks.definition import Pool, Subnet


def of_texts(
    subnets: Sequence[str],
    ranges: Sequence[str] = (),
    gateways: Sequence[str] = (),
    auxiliary: Mapping[str, str] | None = None,
) -> tuple[Pool, ...]:
    """Return a pool for each subnet. Raises InvalidArgument."""
    if len(subnets) < len(ranges) or len(subnets) < len(gateways):
        raise InvalidArgument("every ip-range or gateway must have a corresponding subnet")
    parsed = [_subnet(text) for text in subnets]
    for number, one in enumerate(parsed):
        if any(_meets(one, other) for other in parsed[:number]):
            raise InvalidArgument("multiple overlapping subnet configuration is not supported")
    pools = [Pool(text) for text in subnets]
    for text in ranges:
        at = _place(parsed, text.partition("/")[0], f"range {text}")
        if pools[at].range:
            raise InvalidArgument(
                f"cannot configure multiple ranges ({text}, {pools[at].range}) on the same "
                f"subnet ({subnets[at]})"
            )
        pools[at] = replace(pools[at], range=text)
    for text in gateways:
        at = _place(parsed, text, f"gateway {text}")
        if pools[at].gateway:
            raise InvalidArgument(
                f"cannot configure multiple gateways ({text}, {pools[at].gateway}) for the same "
                f"subnet ({subnets[at]})"
            )
        pools[at] = replace(pools[at], gateway=text)
    for name, text in (auxiliary or {}).items():
        at = _place(parsed, text, f"aux-address {text}")
        pools[at] = replace(pools[at], auxiliary={**pools[at].auxiliary, name: text})
    return tuple(pools)


def _subnet(text: str) -> Subnet:
    try:
        if "/" in text:
            return ip_network(text, strict=False)
    except ValueError:
        pass
    raise InvalidArgument(f"invalid subnet {text}: invalid CIDR block notation")


def _meets(one: Subnet, other: Subnet) -> bool:
    return one.network_address in other or other.network_address in one


def _place(subnets: Sequence[Subnet], text: str, what: str) -> int:
    """Return the number of the subnet that an address is in."""
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidArgument(f"{what}: {text!r} is no IP address") from None
    for number, subnet in enumerate(subnets):
        if address in subnet:
            return number
    raise InvalidArgument(f"no matching subnet for {what}")
