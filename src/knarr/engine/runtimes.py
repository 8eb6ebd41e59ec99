"""Other OCI runtimes: which one makes a container, and where its program is.

Names are looked up in the system's own folders and never in the caller's PATH, so that what a
policy says of a name holds for what is executed.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.config import RUNTIME as OWN

if TYPE_CHECKING:
    from knarr.config import Settings
    from knarr.engine.model import ContainerConfig

FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What is looked for when somebody wants to know what there is.
KNOWN = ("crun", "knarr-oci", "runc", "runsc", "youki")


def is_foreign(config: ContainerConfig) -> bool:
    """Return whether another runtime than knarr's own makes the container."""
    return config.runtime not in (None, OWN)


def settled(settings: Settings, wanted: str | None) -> str | None:
    """Return a container's runtime as it is kept: None is knarr's own, where that is usual.

    Raises InvalidArgument for one that is not there.
    """
    chosen = wanted or settings.runtime
    if chosen == OWN:
        return None if settings.runtime == OWN else OWN
    find(chosen)
    return chosen


def find(name: str) -> str:
    """Return the absolute path of a runtime's program. Raises InvalidArgument."""
    if "/" in name:
        if not os.path.isabs(name):
            raise errors.InvalidArgument(
                f"invalid runtime: {name}: a path has to be absolute, a name has no slash"
            )
        if not os.path.isfile(name) or not os.access(name, os.X_OK):
            raise errors.InvalidArgument(
                f"unknown or invalid runtime name: {name}: there is no such program"
            )
        return name
    found = shutil.which(name, path=FOLDERS)
    if found is None:
        raise errors.InvalidArgument(
            f"unknown or invalid runtime name: {name}: no such program in {FOLDERS}"
        )
    return found


def request(settings: Settings, config: ContainerConfig) -> dict[str, Any]:
    """Return what a supervisor has to know of a container's runtime. Raises InvalidArgument."""
    name = str(config.runtime)
    shown = os.path.basename(name)
    return {"name": shown, "path": find(name), "patience": settings.runtime_timeout}


def listed(settings: Settings) -> dict[str, dict[str, str]]:
    """Return the runtimes that there are, by name, as Docker shows them."""
    found: dict[str, dict[str, str]] = {OWN: {"path": ""}}
    names = (*KNOWN, settings.runtime) if settings.runtime != OWN else KNOWN
    for name in names:
        try:
            found[name] = {"path": find(name)}
        except errors.InvalidArgument:
            continue
    return dict(sorted(found.items()))
