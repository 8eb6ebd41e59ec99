"""Limits of what a container receives and sends: what they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.engine import sharing
from knarr.errors import InvalidArgument

if TYPE_CHECKING:
    from knarr.engine.model import ContainerConfig


def are_limited(config: ContainerConfig) -> bool:
    """Return whether there are limits; a quick look."""
    return config.network_rate_in is not None or config.network_rate_out is not None


def check(config: ContainerConfig) -> None:
    """Raise InvalidArgument for limits that would not hold.

    What a container sends is limited at its own end of the pair, which it may change only with
    ``CAP_NET_ADMIN``.
    """
    if not sharing.has_own_network(config) or not sharing.is_networked(config):
        raise InvalidArgument(
            f"network {config.network}: there is no interface whose rate could be limited"
        )
    if config.network_rate_out is not None and _may_lift(config):
        raise InvalidArgument(
            "a container with NET_ADMIN could lift the limit of what it sends: "
            "leave out the capability or the limit"
        )


def _may_lift(config: ContainerConfig) -> bool:
    added, dropped = (
        {name.upper().removeprefix("CAP_") for name in names}
        for names in (config.cap_add, config.cap_drop)
    )
    return config.privileged or (
        ("NET_ADMIN" in added or "ALL" in added) and "NET_ADMIN" not in dropped
    )
