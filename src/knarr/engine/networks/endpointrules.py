"""What may be asked of a container's endpoint in a network, in Docker's words."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from knarr.errors import InvalidArgument
from knarr.networks import driver as drivers

if TYPE_CHECKING:
    from knarr.engine.endpointconfig import EndpointConfig
    from knarr.networks.definition import Definition


def check(network: Definition, config: EndpointConfig) -> None:
    """Raise InvalidArgument, with all that is wrong, when the network cannot have the endpoint."""
    wrong = []
    driver = drivers.find(network.driver)
    if config.mac and driver.addressed and not driver.ethernet:
        wrong.append(f"{network.driver} interfaces do not support custom mac address assignment")
    if network.predefined:
        if config.ip or config.ip6:
            wrong.append("user-specified IP address is supported on user-defined networks only")
        if config.aliases:
            wrong.append("network-scoped aliases are only supported for user-defined networks")
    wrong += _wrong_addresses(config)
    if not wrong:
        wrong += [
            f"no configured subnet contains IP address {text}"
            for text in (config.ip, config.ip6)
            if text and not any(ip_address(text) in pool.network for pool in network.pools)
        ]
    if wrong:
        raise InvalidArgument(f"invalid endpoint settings: {'; '.join(wrong)}")


def _wrong_addresses(config: EndpointConfig) -> list[str]:
    found = []
    for text, kind, number in ((config.ip, IPv4Address, 4), (config.ip6, IPv6Address, 6)):
        if text is None:
            continue
        try:
            good = not kind(text).is_unspecified
        except ValueError:
            good = False
        if not good:
            found.append(f"invalid IPv{number} address: {text}")
    for text in config.link_local:
        try:
            good = ip_address(text).is_link_local
        except ValueError:
            good = False
        if not good:
            found.append(f"invalid link-local IP address: {text}")
    return found
