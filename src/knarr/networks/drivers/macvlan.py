"""Containers with Ethernet addresses of their own on the network of a host's interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.errors import InvalidArgument
from knarr.kernel import links
from knarr.networks.beside import PARENT, Beside
from knarr.networks.options import MTU, PREFIX

if TYPE_CHECKING:
    from knarr.networks.definition import Definition

MODE = "macvlan_mode"
KNOWN = frozenset({PARENT, MODE, MTU, PREFIX})
_ALONE = "passthru"  # the interface has the parent's Ethernet address, so there can be only one


class Macvlan(Beside):
    """The driver ``macvlan``."""

    kind = "macvlan"
    known = KNOWN
    ethernet = True

    def _check(self, network: Definition) -> None:
        mode = _mode(network)
        if mode not in links.MACVLAN_MODES:
            raise InvalidArgument(
                f"requested macvlan mode '{mode}' is not valid, 'bridge' mode is the macvlan "
                "driver default"
            )

    def conflict(self, network: Definition, other: Definition) -> str:
        """Return that one of both wants the host's interface for itself."""
        parent = self.interface(network)
        if self.interface(other) != parent:
            return ""
        if _mode(network) == _ALONE:
            return (
                f"cannot use mode passthru, macvlan network {other.name} is already using parent "
                f"interface {parent}"
            )
        if _mode(other) == _ALONE:
            return (
                f"macvlan network {other.name} is already using parent interface {parent} in "
                "mode passthru"
            )
        return ""

    def _link(self, network: Definition) -> dict[str, str]:
        return {"mode": _mode(network)}


DRIVER = Macvlan()


def _mode(network: Definition) -> str:
    return network.options.get(MODE) or "bridge"
