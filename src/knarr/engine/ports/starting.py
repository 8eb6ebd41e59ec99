"""Ports of a container that is created or started."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.engine.records import ContainerRecord

_log = logging.getLogger("knarr.engine")

_DISCARDED = "Published ports are discarded when using %s network mode"


class Start(Protocol):
    """The launcher's request while it grows."""

    body: dict[str, Any]

    def add(self, handle: int) -> int:
        """Take a descriptor over; return its index in the message."""
        ...


def are_published(config: ContainerConfig) -> bool:
    """Return whether ports of the host are wanted; a quick look."""
    return bool(config.ports or config.publish_all)


def check(config: ContainerConfig) -> None:
    """Warn, as Docker does, where ports are published for nothing."""
    if config.network in ("host", "none"):
        _log.warning(_DISCARDED, config.network)


def add(start: Start, engine: Engine, record: ContainerRecord) -> None:
    """Take the ports of the host and add them to the message of a start, which has the networks.

    Nothing where none of these leads to the container. Raises Conflict, ResourceExhausted,
    InvalidArgument or Unsupported in Docker's words for a port that cannot be had.
    """
    network = start.body.get("network")
    if network is None or not are_published(record.config):
        return
    from knarr.engine.ports import plan, reserve
    from knarr.networks import hostsettings, naming

    at = plan.addresses(network["attachments"])
    if at is None:
        return
    ports = plan.wanted(record.config, engine.image_defaults(record.image_id))
    at = at._replace(loopback6=not hostsettings.bridge_filters(ipv6=True))
    try:
        taken = reserve.reserve(plan.groups(ports, at))
    except reserve.Refused as refused:
        raise reserve.explained(engine, refused, record.name) from refused
    start.body["ports_kept"] = start.add(taken.handle)
    start.body["ports"] = {
        "table": naming.table(engine.settings.data_root),
        "bindings": taken.bindings,
    }
