"""Finding snapshot drivers: our own by module name, other people's by entry point.

A driver is a class with the methods of ``knarr.snapshots.driver.Driver`` that
is made with the paths of its directory and of one that is gone with the
machine. Ours are called ``Driver`` in ``knarr/snapshots/drivers/NAME.py``;
packages add theirs under the entry point group ``knarr.snapshots``.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import re
from importlib import metadata
from typing import TYPE_CHECKING

from knarr.errors import NotFound, Unsupported
from knarr.snapshots import drivers

if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.snapshots.driver import Driver

GROUP = "knarr.snapshots"
# What "auto" tries, best first.
_PREFERRED = ("erofs", "overlay")
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


def names() -> list[str]:
    """Return the names of all drivers that are installed, sorted."""
    own = {module.name for module in pkgutil.iter_modules(drivers.__path__)}
    others = {entry.name for entry in metadata.entry_points(group=GROUP)}
    return sorted(own | others)


def open_driver(name: str, root: str, run: str | None = None) -> Driver:
    """Return the driver of that name on the directory root (made when missing).

    run: a directory for mounts and the like, root by default.
    ``auto`` takes the first of our preference that works here. Raises NotFound
    for an unknown name, Unsupported when it (or every one) cannot work here.
    """
    if name != "auto":
        root = os.path.abspath(root)
        driver = _factory(name)(root, os.path.abspath(run or root))
        driver.probe()
        return driver
    reasons: list[str] = []
    for each in _PREFERRED:
        try:
            return open_driver(each, root, run)
        except Unsupported as error:
            reasons.append(f"{each}: {error}")
    raise Unsupported("no snapshot driver works here: " + "; ".join(reasons))


def _factory(name: str) -> Callable[[str, str], Driver]:
    module_name = f"{drivers.__name__}.{name}"
    if _NAME.match(name) and importlib.util.find_spec(module_name) is not None:
        factory: Callable[[str, str], Driver] = importlib.import_module(module_name).Driver
        return factory
    for entry in metadata.entry_points(group=GROUP, name=name):
        loaded: Callable[[str, str], Driver] = entry.load()
        return loaded
    raise NotFound(f"snapshot driver {name!r} is not installed: there is {', '.join(names())}")
