"""The host's own network: containers on it have no network namespace of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.errors import Forbidden

if TYPE_CHECKING:
    from knarr.kernel.netlink import Netlink
    from knarr.networks.definition import Definition, Pool
    from knarr.networks.driver import Endpoint
    from knarr.networks.firewall import Firewall, NetworkRules


class Alone:
    """A driver whose one network is always there, and needs nothing on the host."""

    addressed = False
    single = True
    paired = False
    ethernet = False

    def __init__(self, name: str) -> None:
        self._name = name

    def check(self, network: Definition) -> None:
        """Raise Forbidden for a second one."""
        if not network.predefined:
            raise Forbidden(f'only one instance of "{self._name}" network is allowed')

    def conflict(self, network: Definition, other: Definition) -> str:
        """Return nothing: there is no other."""
        del network, other
        return ""

    def gateway(self, network: Definition, pool: Pool) -> str:
        """Return that there is none."""
        del network, pool
        return ""

    def interface(self, network: Definition) -> str:
        """Return that there is none."""
        del network
        return ""

    def plug(self, sock: Netlink, network: Definition, index: int, own: int) -> None:
        """Do nothing."""

    def is_made(self, network: Definition, firewall: Firewall, note: str) -> bool:
        """Return True."""
        del network, firewall, note
        return True

    def make(self, network: Definition, firewall: Firewall) -> str:
        """Do nothing."""
        del network, firewall
        return ""

    def unmake(self, network: Definition, firewall: Firewall) -> None:
        """Do nothing."""

    def rules(self, network: Definition) -> NetworkRules | None:
        """Return None: its packets are none of the firewall's business."""
        del network
        return None

    def attachment(self, network: Definition, endpoint: Endpoint) -> dict[str, Any] | None:
        """Return None: the container's spec says all."""
        del network, endpoint
        return None


DRIVER = Alone("host")
