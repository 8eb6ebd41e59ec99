"""Containers that reach no more than was allowed (``--egress-allow``): what they need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from knarr.engine import acts, sharing
from knarr.errors import InvalidArgument, Unsupported
from knarr.networks import driver as drivers
from knarr.networks import egress, naming

if TYPE_CHECKING:
    from knarr.config import Settings
    from knarr.engine.model import ContainerConfig
    from knarr.engine.records import ContainerRecord
    from knarr.networks.definition import Definition
    from knarr.runtime.egress import Plan

_OPERATION = "egress"


def check(config: ContainerConfig) -> None:
    """Raise InvalidArgument for what is no list, or where it would not hold."""
    egress.parse(config.egress_allow or ())
    if not sharing.has_own_network(config):
        raise InvalidArgument(
            f"conflicting options: --egress-allow and the network mode {config.network}: what "
            "passes there is not this container's alone; use a bridge network"
        )


def check_networks(config: ContainerConfig, networks: Iterable[Definition]) -> None:
    """Raise Unsupported for a network where a container's limits would not hold."""
    if config.egress_allow is None:
        return
    for network in networks:
        driver = drivers.find(network.driver)
        if driver.addressed and not driver.paired:
            raise Unsupported(
                f"network {network.name}: --egress-allow cannot be enforced with driver "
                f"{network.driver}, whose packets do not pass the host's rules; use bridge"
            )


def plan(settings: Settings, record: ContainerRecord) -> Plan | None:
    """Return what the maker does about it; None for a container that reaches everything."""
    if record.config.egress_allow is None:
        return None
    return {"container": record.id, **_limits(settings, record)}


def told(settings: Settings, record: ContainerRecord) -> dict[str, Any]:
    """Return what the resolver learns of it: nothing for a container that reaches everything."""
    if record.config.egress_allow is None:
        return {}
    names = egress.names(egress.parse(record.config.egress_allow))
    return {"egress": {"names": names, **_limits(settings, record)}}


def _limits(settings: Settings, record: ContainerRecord) -> dict[str, Any]:
    return {
        "table": naming.table(settings.data_root),
        "mark": egress.mark(record.id),
        "networks": egress.ranges(egress.parse(record.config.egress_allow or ())),
    }


def current(settings: Settings) -> list[Plan]:
    """Return the plans of all containers that run, are about to, or have just ended. OSError."""
    return [each for run_dir in acts.run_dirs(settings) for each in of(run_dir)]


def of(run_dir: str) -> list[Plan]:
    """Return the plan that was carried out for a container, if there is one."""
    return acts.of(run_dir, _OPERATION)[:1]
