"""Containers with interfaces of their own beside the host's, on the network of one of them.

They have Ethernet addresses of their own on that network, which is outside our firewall: nothing
is translated or published. The host itself does not reach them over its interface, nor they it
(networking/ipvlan.rst of the kernel has the picture; ip-link(8) the modes).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from knarr.errors import InvalidArgument, Unsupported
from knarr.kernel import links
from knarr.networks.drivers import bridge

if TYPE_CHECKING:
    from knarr.kernel.netlink import Netlink
    from knarr.networks.definition import Definition
    from knarr.networks.driver import Endpoint
    from knarr.networks.firewall import Firewall, NetworkRules

PARENT = "parent"
MODE = "macvlan_mode"
KNOWN = frozenset({PARENT, MODE, bridge.MTU, bridge.PREFIX})


class Macvlan:
    """The driver ``macvlan``."""

    addressed = True
    single = False
    paired = False

    def check(self, network: Definition) -> None:
        """Raise InvalidArgument in Docker's words, Unsupported for an option there is not."""
        if not (network.ipv4 or network.ipv6):
            raise InvalidArgument("IPv4 or IPv6 must be enabled")
        for name in sorted(network.options.keys() - KNOWN):
            raise Unsupported(f"network {network.name}: driver macvlan has no option {name}")
        mode = _mode(network)
        if mode not in links.MACVLAN_MODES:
            raise InvalidArgument(
                f"requested macvlan mode '{mode}' is not valid, 'bridge' mode is the macvlan "
                "driver default"
            )
        if not network.options.get(PARENT):
            raise Unsupported(
                f"network {network.name}: a macvlan network needs an interface of the host: "
                "-o parent=eth0"
            )
        bridge.mtu(network)

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
        name = self.interface(network)
        try:
            return str(links.index_of(name))
        except OSError:
            text = f"the requested parent interface {name} was not found on the host"
            raise OSError(errno.ENODEV, text) from None

    def unmake(self, network: Definition, firewall: Firewall) -> None:
        """Do nothing."""

    def plug(self, sock: Netlink, network: Definition, index: int, own: int) -> None:
        """Do nothing: there is no end on the host."""

    def rules(self, network: Definition) -> NetworkRules | None:
        """Return None: its packets never come to the host's rules."""
        del network
        return None

    def attachment(self, network: Definition, endpoint: Endpoint) -> dict[str, Any] | None:
        """Return the interface that the maker makes."""
        return {
            "network": network.id,
            "driver": "macvlan",
            "parent": self.interface(network),
            "mode": _mode(network),
            "host_if": "",
            "name": endpoint.interface,
            "mac": endpoint.mac,
            "addresses": list(endpoint.addresses),
            "gateways": list(endpoint.gateways),
            "mtu": bridge.mtu(network),
        }


DRIVER = Macvlan()


def _mode(network: Definition) -> str:
    return network.options.get(MODE) or "bridge"
