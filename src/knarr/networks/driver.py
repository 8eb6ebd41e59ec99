"""What a driver of networks does; each is a module of ``drivers/`` with a ``DRIVER``.

A driver decides and describes: ``check`` refuses options, ``attachment`` says as a value how a
container is joined to the network, which the container's maker then carries out. It acts on
the host only for what belongs to the network as a whole: ``make`` when the network is first
used, ``unmake`` when it is removed. Both may be repeated, also after being killed half way.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from knarr.errors import NotFound, Unsupported
from knarr.networks import drivers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from knarr.kernel.netlink import Netlink
    from knarr.networks.definition import Address, Definition, Pool
    from knarr.networks.firewall import Firewall, NetworkRules

_LATER = {
    "overlay": "networks over several machines are not available yet; use bridge",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A container's place in a network, with all that was decided about it.

    host_interface: name of the end that stays on the host. interface: name inside. addresses:
    with the length of their prefixes. gateways: of the default routes that go through this
    network. options: of the driver, for this endpoint.
    """

    host_interface: str
    interface: str
    mac: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


class Driver(Protocol):
    """A kind of network.

    addressed: containers on it get addresses. single: there is only one. paired: a container's
    interface has an end on the host, which is the gateway. ethernet: it has an Ethernet address
    of its own.
    """

    addressed: bool
    single: bool
    paired: bool
    ethernet: bool

    def check(self, network: Definition) -> None:
        """Raise InvalidArgument or Unsupported for what the driver cannot do."""

    def conflict(self, network: Definition, other: Definition) -> str:
        """Return why there cannot be both, of two networks of this driver; "" when there can."""

    def gateway(self, network: Definition, pool: Pool) -> str:
        """Return where the default route goes, "" for nowhere.

        An address that is none (0.0.0.0 or ::): the route is the interface itself.
        """

    def interface(self, network: Definition) -> str:
        """Return the name of the network's interface on the host, "" without one."""

    def plug(self, sock: Netlink, network: Definition, index: int, own: int) -> None:
        """Join an interface that is there to the network's own, by their numbers. OSError."""

    def is_made(self, network: Definition, firewall: Firewall, note: str) -> bool:
        """Return whether all that :meth:`make` does is there; note: what that returned."""

    def make(self, network: Definition, firewall: Firewall) -> str:
        """Make what the network needs on the host; return a note of it. Raises OSError."""

    def unmake(self, network: Definition, firewall: Firewall) -> None:
        """Take away what the network has on the host; what is missing is no error."""

    def rules(self, network: Definition) -> NetworkRules | None:
        """Return what the firewall has to know of a network, None where that is nothing."""

    def attachment(self, network: Definition, endpoint: Endpoint) -> dict[str, Any] | None:
        """Return how the maker joins a container to the network; None when it need not."""


@cache
def names() -> tuple[str, ...]:
    """Return the names of the drivers, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(drivers.__path__)))


def find(name: str) -> Driver:
    """Return the driver of that name. Raises Unsupported for Docker's others, NotFound."""
    if name in _LATER:
        raise Unsupported(f"network driver {name}: {_LATER[name]}")
    if not name.isidentifier() or name not in names():
        raise NotFound(f'plugin "{name}" not found: drivers are {", ".join(names())}')
    driver: Driver = importlib.import_module(f"{drivers.__name__}.{name}").DRIVER
    return driver


def gateways(endpoints: list[tuple[str, int, Definition]]) -> dict[str, list[Address]]:
    """Return by network id which default routes of a container go through which network.

    endpoints: name of the network, priority, network. The highest priority wins, then the name,
    for IPv4 and IPv6 each; an internal network leads nowhere.
    """
    from ipaddress import ip_address

    found: dict[str, list[Address]] = {}
    for version in (4, 6):
        for _, _, network in sorted(endpoints, key=lambda each: (-each[1], each[0])):
            pool = network.of_version(version)
            if pool is None or network.internal:
                continue
            route = find(network.driver).gateway(network, pool)
            if route:
                found.setdefault(network.id, []).append(ip_address(route))
                break
    return found
