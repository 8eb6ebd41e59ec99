"""``Beside``: what the drivers macvlan and ipvlan have in common.

Containers have interfaces of their own beside one of the host's, on the network that it is on,
which is outside our firewall: nothing is translated or published. The host itself does not reach
them over its interface, nor they it (networking/ipvlan.rst of the kernel has the picture;
ip-link(8) the modes). Gateways are other machines: there is none where none was named.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from knarr.errors import InvalidArgument, Unsupported
from knarr.kernel import links
from knarr.networks.options import mtu

if TYPE_CHECKING:
    from knarr.kernel.netlink import Netlink
    from knarr.networks.definition import Definition, Pool
    from knarr.networks.driver import Endpoint
    from knarr.networks.firewall import Firewall, NetworkRules

PARENT = "parent"


class Beside(ABC):
    """A driver of such networks, but for what differs. kind: its name. known: its options."""

    addressed = True
    single = False
    paired = False
    ethernet: bool
    kind: str
    known: frozenset[str]

    @abstractmethod
    def _check(self, network: Definition) -> None:
        """Raise InvalidArgument for what the driver's own options cannot be."""

    @abstractmethod
    def _link(self, network: Definition) -> dict[str, str]:
        """Return what is said of an interface beside its parent."""

    def check(self, network: Definition) -> None:
        """Raise InvalidArgument in Docker's words, Unsupported for an option there is not."""
        if not (network.ipv4 or network.ipv6):
            raise InvalidArgument("IPv4 or IPv6 must be enabled")
        for name in sorted(network.options.keys() - self.known):
            raise Unsupported(f"network {network.name}: driver {self.kind} has no option {name}")
        self._check(network)
        parent = network.options.get(PARENT)
        if parent == "lo":
            raise InvalidArgument(f"loopback interface is not a valid {self.kind} parent link")
        if not parent:
            raise Unsupported(
                f"network {network.name}: driver {self.kind} needs an interface of the host: "
                "-o parent=eth0"
            )
        mtu(network)
        try:
            _index(parent)
        except OSError as error:
            raise InvalidArgument(f"network {network.name}: {error.strerror}") from None

    def gateway(self, network: Definition, pool: Pool) -> str:
        """Return the gateway that was named."""
        del network
        return pool.gateway

    def interface(self, network: Definition) -> str:
        """Return the name of the host's interface beside which containers have theirs."""
        return network.options[PARENT]

    def is_made(self, network: Definition, firewall: Firewall, note: str) -> bool:
        """Return whether the host's interface is the one that was found."""
        del firewall
        try:
            return note == str(links.index_of(self.interface(network)))
        except OSError:
            return False

    def make(self, network: Definition, firewall: Firewall) -> str:
        """Make nothing; return the number of the host's interface. Raises OSError."""
        del firewall
        return str(_index(self.interface(network)))

    def unmake(self, network: Definition, firewall: Firewall) -> None:
        """Do nothing."""
        del network, firewall

    def plug(self, sock: Netlink, network: Definition, index: int, own: int) -> None:
        """Do nothing: there is no end on the host."""
        del sock, network, index, own

    def rules(self, network: Definition) -> NetworkRules | None:
        """Return None: its packets never come to the host's rules."""
        del network
        return None

    def attachment(self, network: Definition, endpoint: Endpoint) -> dict[str, Any] | None:
        """Return the interface that the maker makes."""
        return {
            "network": network.id,
            "driver": self.kind,
            "parent": self.interface(network),
            "host_if": "",
            "name": endpoint.interface,
            "mac": endpoint.mac,
            "addresses": list(endpoint.addresses),
            "gateways": list(endpoint.gateways),
            "mtu": mtu(network),
            **self._link(network),
        }


def _index(name: str) -> int:
    """Return the number of an interface beside which containers are to be. Raises OSError."""
    try:
        return links.index_of(name)
    except OSError:
        text = f"the requested parent interface {name} was not found on the host"
        base, dot, number = name.partition(".")
        if dot and number.isdecimal():
            text += f": ip link add link {base} name {name} type vlan id {number}"
        raise OSError(errno.ENODEV, text) from None
