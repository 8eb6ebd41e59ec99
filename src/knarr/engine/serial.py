"""``ContainerConfig`` as JSON and back: what is not the default is written, nothing else."""

from __future__ import annotations

import dataclasses
import json
from operator import attrgetter
from typing import Any

from knarr.engine.endpointconfig import EndpointConfig
from knarr.engine.model import (
    BindMount,
    ContainerConfig,
    Device,
    HealthCheck,
    HostPort,
    Limits,
    RestartPolicy,
    ThrottleDevice,
    Tmpfs,
    Ulimit,
    Usage,
)


class _Shape:
    """A dataclass's fields: their values in one call, and what they are by default."""

    __slots__ = ("defaults", "values")

    def __init__(self, cls: type) -> None:
        self.defaults = _defaults(cls)
        self.values = attrgetter(*self.defaults)


def _defaults(cls: type) -> dict[str, Any]:
    """Return each field of a dataclass with its default (MISSING where it has none)."""
    found = {}
    for field in dataclasses.fields(cls):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found[field.name] = default
    return found


_SHAPES: dict[type, _Shape] = {
    cls: _Shape(cls)
    for cls in (
        ContainerConfig,
        Limits,
        BindMount,
        Device,
        EndpointConfig,
        HealthCheck,
        HostPort,
        RestartPolicy,
        ThrottleDevice,
        Tmpfs,
        Ulimit,
    )
}
_ITEMS: dict[str, type] = {
    "binds": BindMount,
    "devices": Device,
    "endpoints": EndpointConfig,
    "ports": HostPort,
    "tmpfs": Tmpfs,
    "ulimits": Ulimit,
}
_USAGE_FIELDS = tuple(field.name for field in dataclasses.fields(Usage))
_encode = json.JSONEncoder(separators=(",", ":")).encode


def encode(config: ContainerConfig) -> str:
    """Return the configuration as compact JSON."""
    return _encode(_plain(config))


def decode(text: str) -> ContainerConfig:
    """Return the configuration that :func:`encode` wrote; unknown names are ignored."""
    value = json.loads(text)
    for name, cls in _ITEMS.items():
        if name in value:
            value[name] = tuple(_build(cls, item) for item in value[name])
    if "limits" in value:
        limits = value["limits"]
        for name, entry in limits.items():
            if isinstance(entry, list):
                limits[name] = tuple(_build(ThrottleDevice, item) for item in entry)
        value["limits"] = _build(Limits, limits)
    if "restart" in value:
        value["restart"] = _build(RestartPolicy, value["restart"])
    if "health" in value:
        value["health"] = _build(HealthCheck, value["health"])
    return _build(ContainerConfig, value)  # type: ignore[no-any-return]


def usage(value: dict[str, Any] | None) -> Usage:
    """Return the Usage in a supervisor's state; fields of other releases are ignored."""
    found = value or {}
    return Usage(**{name: found.get(name) for name in _USAGE_FIELDS})


def _plain(value: Any) -> Any:
    shape = _SHAPES.get(type(value))
    if shape is not None:
        pairs = zip(shape.defaults.items(), shape.values(value), strict=True)
        return {name: _plain(entry) for (name, default), entry in pairs if entry != default}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value


def _build(cls: type, value: dict[str, Any]) -> Any:
    known = _SHAPES[cls].defaults
    return cls(
        **{
            name: tuple(entry) if isinstance(entry, list) else entry
            for name, entry in value.items()
            if name in known
        }
    )
