"""What this machine can do, asked once per engine: the kernel's features and its cgroups."""

from __future__ import annotations

import json
import logging
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.cgroups import manager
from knarr.engine import host
from knarr.engine.paths import prepare_run_root
from knarr.engine.security import apparmor
from knarr.engine.translate import translated

if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.cgroups.protocol import Manager
    from knarr.config import Settings

_log = logging.getLogger("knarr.engine")

NO_IDMAP = (
    "the owners of layers cannot be mapped by this kernel or on this file system (idmapped "
    "overlay, Linux 5.19): containers share the host's user namespace"
)
_MAY_NOT_MAP = (
    "the owners of layers cannot be mapped ({reason}): containers share the host's user namespace"
)


class Machine:
    """Lazily found facts. probe: asks the launcher what the kernel can do below a directory."""

    def __init__(self, settings: Settings, probe: Callable[[str], dict[str, Any]]) -> None:
        self._settings = settings
        self._probe = probe

    @cached_property
    def features(self) -> dict[str, Any]:
        """What the kernel can do here; tried out once in a boot and kept in the run root."""
        path = f"{self._settings.run_root}/features.json"
        key = [host.boot_id(), os.uname().release, self._settings.data_root]
        kept = _read(path)
        if kept is not None and kept.get("key") == key:
            return dict(kept["features"])
        with translated("probing the kernel's features"):
            os.makedirs(self._settings.data_root, mode=0o711, exist_ok=True)
            prepare_run_root(self._settings.run_root)
            found = self._probe(self._settings.data_root)
            _write(path, {"key": key, "features": found})
        return found

    @cached_property
    def cgroups(self) -> Manager:
        """The cgroup manager that the settings ask for. Raises InvalidArgument, Unsupported."""
        try:
            return manager.detect(self._settings.cgroup_manager)
        except ValueError as error:
            raise errors.InvalidArgument(str(error)) from error
        except OSError as error:
            raise errors.Unsupported(f"cgroups: {error.strerror}") from error

    def cgroup_names(self) -> tuple[str, str]:
        """Return the manager's name and cgroup version as text, ``none`` where there are none."""
        try:
            return self.cgroups.name, str(self.cgroups.version or "none")
        except errors.KnarrError:
            return "none", "none"

    @cached_property
    def apparmor(self) -> str | None:
        """The default profile's name, loaded; None where AppArmor is off, or warned about."""
        if not apparmor.active():
            return None
        try:
            return apparmor.ensure()
        except (errors.Unavailable, OSError) as error:
            self._warn("apparmor", str(error))
            return None

    def private_users(self) -> bool:
        """Return whether containers can have id ranges of their own; warn once in a boot if not."""
        if self._settings.userns == "host":
            return False
        if self.features.get("idmap"):
            return True
        self._warn("idmap", self._without_idmap())
        return False

    def _without_idmap(self) -> str:
        """Return why containers have no id ranges of their own: the kernel's age, or our rights."""
        if self.features.get("idmap_denied"):
            return _MAY_NOT_MAP.format(reason=self.features["idmap_error"])
        return NO_IDMAP

    def _warn(self, about: str, text: str) -> None:
        """Say a thing about this machine once in a boot: a file in the run root remembers."""
        with translated("the run root"):
            prepare_run_root(self._settings.run_root)
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            try:
                os.close(os.open(f"{self._settings.run_root}/warned-{about}", flags, 0o600))
            except FileExistsError:
                return
        _log.warning(text)

    def cgroups_path(self, container_id: str, parent: str | None = None) -> str:
        """Return where a container's cgroup goes, in the form its manager wants.

        parent: None is the settings'. Raises InvalidArgument for one that cannot be.
        """
        asked, parent = parent, parent or self._settings.cgroup_parent
        if asked and ".." in asked.split("/"):
            raise errors.InvalidArgument(f"cgroup-parent {asked}: it must not climb")
        if "systemd" in self.cgroups.name:
            if asked and not (asked.endswith(".slice") and "/" not in asked):
                raise errors.InvalidArgument(
                    'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"'
                )
            slice_name = parent if parent.endswith(".slice") else _as_slice(parent)
            return f"{slice_name}:knarr:{container_id}"
        return f"/{parent.strip('/')}/{container_id}"

    def warnings(self) -> list[str]:
        """Return what a user of this machine should know, one line each."""
        found = []
        if self._settings.userns != "host" and not self.features.get("idmap"):
            found.append(self._without_idmap())
        return found


def _as_slice(parent: str) -> str:
    """Return a cgroup path as the name of a systemd slice (systemd.slice(5))."""
    return parent.strip("/").replace("-", "_").replace("/", "-") + ".slice"


def _read(path: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return None  # not probed in this boot, or torn: probed again
    return value if isinstance(value, dict) else None


def _write(path: str, value: dict[str, Any]) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.rename(temporary, path)
