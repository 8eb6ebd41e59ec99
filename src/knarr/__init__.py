"""knarr: a container engine as a library, a command and an API.

``knarr.Engine`` has containers and images, ``knarr.Sandbox`` is a container for
a while. Everything here is imported when it is first used, so that
``import knarr`` costs nothing.
"""

from __future__ import annotations

from knarr._version import __version__

# The start path imports this module too, and ``typing`` would cost it 15 ms.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr import errors
    from knarr.config import Settings
    from knarr.engine.aio import AsyncSandbox
    from knarr.engine.container import Container
    from knarr.engine.endpointconfig import EndpointConfig
    from knarr.engine.engine import Engine
    from knarr.engine.model import (
        BindMount,
        ContainerConfig,
        ExecConfig,
        ExitStatus,
        Health,
        HealthCheck,
        HostPort,
        Limits,
        RunResult,
        Tmpfs,
        Usage,
    )
    from knarr.engine.networks.network import Network
    from knarr.engine.sandbox import CommandFailed, Sandbox
    from knarr.engine.stats import Stats
    from knarr.images.service import Image
    from knarr.networks.definition import Pool

_HOMES = {
    "AsyncSandbox": "knarr.engine.aio",
    "BindMount": "knarr.engine.model",
    "CommandFailed": "knarr.engine.sandbox",
    "Container": "knarr.engine.container",
    "ContainerConfig": "knarr.engine.model",
    "EndpointConfig": "knarr.engine.endpointconfig",
    "Engine": "knarr.engine.engine",
    "ExecConfig": "knarr.engine.model",
    "ExitStatus": "knarr.engine.model",
    "Health": "knarr.engine.model",
    "HealthCheck": "knarr.engine.model",
    "HostPort": "knarr.engine.model",
    "Image": "knarr.images.service",
    "Limits": "knarr.engine.model",
    "Network": "knarr.engine.networks.network",
    "Pool": "knarr.networks.definition",
    "RunResult": "knarr.engine.model",
    "Sandbox": "knarr.engine.sandbox",
    "Settings": "knarr.config",
    "Stats": "knarr.engine.stats",
    "Tmpfs": "knarr.engine.model",
    "Usage": "knarr.engine.model",
    "errors": "knarr.errors",
}

__all__ = [
    "AsyncSandbox",
    "BindMount",
    "CommandFailed",
    "Container",
    "ContainerConfig",
    "EndpointConfig",
    "Engine",
    "ExecConfig",
    "ExitStatus",
    "Health",
    "HealthCheck",
    "HostPort",
    "Image",
    "Limits",
    "Network",
    "Pool",
    "RunResult",
    "Sandbox",
    "Settings",
    "Stats",
    "Tmpfs",
    "Usage",
    "__version__",
    "errors",
]


def __getattr__(name: str) -> Any:
    """Import what ``__all__`` names on first use (PEP 562)."""
    import importlib

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'knarr' has no attribute {name!r}")
    module = importlib.import_module(home)
    value = module if home == f"knarr.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
