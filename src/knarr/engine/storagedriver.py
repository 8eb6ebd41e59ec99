"""Which snapshot driver an engine uses: the setting's, or the best that works on this machine.

Trying a driver out costs a few writes and a mount, so what came of it is kept in the run root
until the kernel or the data root is another: a symbolic link, whose text is read in one call.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine.paths import prepare_run_root
from knarr.snapshots.drivers import erofs, overlay

if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.config import Settings
    from knarr.snapshots.driver import Driver

_OURS: dict[str, Callable[[str, str], Driver]] = {"erofs": erofs.Driver, "overlay": overlay.Driver}
_AUTO = ("erofs", "overlay")


def opened(settings: Settings) -> Driver:
    """Return the driver. Raises NotFound for an unknown name, Unsupported for one that cannot work.

    Layers that another driver of ours left in the data root are used as they are.
    """
    root, asked = f"{settings.data_root}/snapshots", settings.storage_driver
    note = f"{settings.run_root}/storage-driver-{asked}"
    suffix = f" {os.uname().release} {settings.data_root}"
    try:
        known = os.readlink(note)
    except OSError:
        known = ""
    if known.endswith(suffix):
        found = _OURS.get(known.removesuffix(suffix))
        if found is not None:
            return found(root, settings.run_root)
    driver = _tried(asked, root, settings.run_root)
    try:
        prepare_run_root(settings.run_root)
        temporary = f"{note}.{os.getpid()}"
        os.symlink(driver.name + suffix, temporary)
        os.rename(temporary, note)
    except (OSError, errors.KnarrError):
        return driver  # what is wrong with the run root is told by what needs it
    return driver


def _tried(asked: str, root: str, run: str) -> Driver:
    """Return the first driver that works of those that were asked for."""
    reasons: list[str] = []
    for name in _AUTO if asked == "auto" else (asked,):
        try:
            make = _OURS.get(name)
            if make is None:
                from knarr.snapshots import registry

                return registry.open_driver(name, root, run)
            driver = make(root, run)
            driver.probe()
            return driver
        except errors.Unsupported as error:
            reasons.append(f"{name}: {error}")
    raise errors.Unsupported("storage driver " + "; ".join(reasons))


def status(settings: Settings, driver: Driver) -> list[list[str]]:
    """Return more about a driver for ``info``: why it is not the better one."""
    if settings.storage_driver != "auto" or driver.name != "overlay":
        return []
    try:
        erofs.Driver(f"{settings.data_root}/snapshots", settings.run_root).probe()
    except errors.Unsupported as error:
        return [["Layers Unpacked", str(error)]]
    return []
