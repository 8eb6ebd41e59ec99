"""Containers with addresses of their own behind the Ethernet address of a host's interface.

In mode l2 they ask for their neighbours themselves. In l3 and l3s the host's interface sends for
them by the host's routes, and the default route is the interface itself; in l3s their packets
also pass the host's rules. A mode is the host's interface's: all on it have the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.errors import InvalidArgument
from knarr.kernel import links
from knarr.networks.beside import PARENT, Beside
from knarr.networks.options import MTU, PREFIX

if TYPE_CHECKING:
    from knarr.networks.definition import Definition, Pool

MODE = "ipvlan_mode"
FLAG = "ipvlan_flag"
KNOWN = frozenset({PARENT, MODE, FLAG, MTU, PREFIX})


class Ipvlan(Beside):
    """The driver ``ipvlan``."""

    kind = "ipvlan"
    known = KNOWN
    ethernet = False

    def _check(self, network: Definition) -> None:
        mode, flag = _mode(network), _flag(network)
        if mode not in links.IPVLAN_MODES:
            raise InvalidArgument(
                f"requested ipvlan mode '{mode}' is not valid, 'l2' mode is the ipvlan driver "
                "default"
            )
        if flag not in links.IPVLAN_FLAGS:
            raise InvalidArgument(
                f"requested ipvlan flag '{flag}' is not valid, 'bridge' is the ipvlan driver "
                "default"
            )

    def conflict(self, network: Definition, other: Definition) -> str:
        """Return that the host's interface is another's: mode and flag would be changed there."""
        parent = self.interface(network)
        if self.interface(other) != parent:
            return ""
        return f"network {other.name} is already using parent interface {parent}"

    def gateway(self, network: Definition, pool: Pool) -> str:
        """Return the gateway that was named; where the host routes, no address of any."""
        if _mode(network) == "l2":
            return pool.gateway
        return "0.0.0.0" if pool.version == 4 else "::"

    def _link(self, network: Definition) -> dict[str, str]:
        return {"mode": _mode(network), "flag": _flag(network)}


DRIVER = Ipvlan()


def _mode(network: Definition) -> str:
    return network.options.get(MODE) or "l2"


def _flag(network: Definition) -> str:
    return network.options.get(FLAG) or "bridge"
