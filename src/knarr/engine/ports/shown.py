"""Ports in Docker's objects: what was asked for, what is exposed, and what leads where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from knarr.engine import sharing
from knarr.engine.ports import plan

if TYPE_CHECKING:
    from knarr.engine.model import ContainerConfig, HostPort
    from knarr.engine.state import ContainerState

Places = list[dict[str, str]]


def asked(config: ContainerConfig) -> dict[str, Places]:
    """Return ``HostConfig.PortBindings``: what ``-p`` said."""
    found: dict[str, Places] = {}
    for port in config.ports:
        place = {"HostIp": port.address, "HostPort": _outside(port)}
        found.setdefault(port.key, []).append(place)
    return found


def _outside(port: HostPort) -> str:
    if not port.first:
        return ""
    return str(port.first) if port.first == port.last else f"{port.first}-{port.last}"


def exposed(config: ContainerConfig, image: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return ``Config.ExposedPorts``. image: the ``config`` of its image."""
    return {port: {} for port in plan.exposed(config, image)}


def published(
    config: ContainerConfig, image: Mapping[str, Any], state: ContainerState
) -> dict[str, Places | None]:
    """Return ``NetworkSettings.Ports``: of a container that runs on networks, else empty."""
    joined = sharing.has_own_network(config) and sharing.is_networked(config)
    if not state.running or not joined:
        return {}
    found: dict[str, Places | None] = dict.fromkeys(plan.exposed(config, image))
    for each in state.ports:
        place = {"HostIp": each["host_ip"], "HostPort": str(each["host_port"])}
        key = f"{each['port']}/{each['proto']}"
        found[key] = [*(found.get(key) or []), place]
    return found
