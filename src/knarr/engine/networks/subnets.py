"""Which subnets a new network gets: those asked for, else the first that are free.

They must overlap with no other network and with no route of the host: packets of who uses that
route would end up in the network.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_network

from knarr.engine.translate import translated
from knarr.errors import Forbidden, InvalidArgument
from knarr.kernel import links
from knarr.kernel.netlink import Netlink
from knarr.networks import driver as drivers
from knarr.networks import ipam
from knarr.networks.definition import Definition, Pool, Subnet

_OVERLAP = "invalid pool request: Pool overlaps with other one on this address space"


def chosen(seed: bytes) -> Callable[[Definition, list[Definition]], Definition]:
    """Return what decides a new network's subnets, knowing all others, and has it checked.

    seed: what makes the machine's and the data root's IPv6 subnets their own.
    """

    def decide(network: Definition, others: list[Definition]) -> Definition:
        if drivers.find(network.driver).addressed:
            network = replace(network, pools=tuple(_pools(network, others, seed)))
        driver = drivers.find(network.driver)
        driver.check(network)
        for other in others:
            reason = driver.conflict(network, other) if other.driver == network.driver else ""
            if reason:
                name = driver.interface(network)
                raise Forbidden(f"cannot create network {network.id} ({name}): {reason}")
        return network

    return decide


def _pools(network: Definition, others: list[Definition], seed: bytes) -> list[Pool]:
    of_others = [(pool.network, f"network {each.name}") for each in others for pool in each.pools]
    # Containers beside an interface of the host are to have addresses of its network.
    paired = drivers.find(network.driver).paired
    taken = [*of_others, *(of_host() if paired else ())]
    found = []
    for version, wanted in ((4, network.ipv4), (6, network.ipv6)):
        if not wanted:
            continue
        given = [pool for pool in network.pools if pool.version == version]
        pools = ipam.POOLS4 if version == 4 else ipam.pools6(seed)
        settled = [_settled(pool, taken, pools) for pool in given or [Pool("0.0.0.0/0")]]
        found += [_with_gateway(pool) for pool in settled] if paired else settled
    return found


def _settled(pool: Pool, taken: Sequence[tuple[Subnet, str]], pools: Sequence[ipam.Split]) -> Pool:
    """Return a pool with a subnet that overlaps with none."""
    subnet = pool.network
    if subnet.network_address.is_unspecified:  # only its length was asked for, if that
        if pool.range:
            raise InvalidArgument("invalid address subpool: an ip-range needs a subnet")
        free = ipam.free_subnet(pools, [each for each, _ in taken], subnet.prefixlen)
        pool = replace(pool, subnet=str(free))
    else:
        hit = ipam.overlapping(subnet, [each for each, _ in taken])
        if hit is not None:
            owner = next(what for each, what in taken if each == hit)
            raise Forbidden(f"{_OVERLAP} ({subnet} and {hit}, {owner})")
    return pool


def _with_gateway(pool: Pool) -> Pool:
    return pool if pool.gateway else replace(pool, gateway=str(ipam.gateway_of(pool)))


def of_host() -> list[tuple[Subnet, str]]:
    """Return the destinations of the host's routes, but for the default ones, and what they are.

    Raises ResourceExhausted and others in the name of the routes.
    """
    found: list[tuple[Subnet, str]] = []
    with translated("routes of the host"), Netlink() as sock:
        names = {index: name for name, index in links.names(sock).items()}
        for family in (socket.AF_INET, socket.AF_INET6):
            for address, prefix, index in links.routes(sock, family):
                subnet = ip_network((address, prefix))
                if prefix and not subnet.is_link_local and not subnet.is_multicast:
                    found.append((subnet, f"a route of the host over {names.get(index, '?')}"))
    return found
