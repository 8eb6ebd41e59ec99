"""The control group of a container in the making, or that there is none.

Without root a group is made where the caller may make one. Where it may not, there is none, as
with runc: unless the configuration says where it is to be, or has limits.
"""

import errno

from knarr.cgroups import files
from knarr.errors import InvalidArgument
from knarr.oci import config as configs
from knarr.oci.rootless import is_nested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.oci.log import Journal
    from knarr.oci.state import Container

# How the kernel says that a group is another's to make, or that there are none.
_DENIED = (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOENT)


class _Denied(Exception):
    """There can be no group here, for this reason."""


def make(
    container: "Container", config: "dict[str, Any]", journal: "Journal", *, lenient: bool
) -> "Any":
    """Return a container's new group, which its state tells of. Raises InvalidArgument.

    lenient: there may be none.
    """
    resources = configs.resources_of(config)
    configs.warn_of(resources, journal)
    if is_nested():
        # Rules for devices are root's; the bound nodes are all that there are, and nobody in a
        # user namespace makes others.
        resources.pop("devices", None)
    try:
        return _make(container, config, resources, lenient=lenient)
    except _Denied as denied:
        return _do_without(container, resources, str(denied))


def _make(
    container: "Container",
    config: "dict[str, Any]",
    resources: "dict[str, Any]",
    *,
    lenient: bool,
) -> "Any":
    values = container.values["cgroup"]
    chosen = bool((config.get("linux") or {}).get("cgroupsPath"))
    try:
        manager = container.manager()
    except OSError as error:
        _check_needed(error, needed=chosen or not lenient)
        raise InvalidArgument(f"control groups: {error.strerror}: {error.filename}") from error
    if manager.name == "systemd":
        _have_small_keepers(manager)
    elif lenient and not chosen and manager.version == 2:
        values["path"] = _beside_own(container.name)
    path = values["path"]
    try:
        # One that is there already is not ours until it has proved to be empty.
        values["made"] = not manager.exists(path)
        container.save()
        group = manager.create(path, resources, owner=configs.group_owner(config))
    except ValueError as error:
        is_path = str(error).startswith("cgroup path")
        where = "linux.cgroupsPath: " if is_path else "linux.resources."
        raise InvalidArgument(f"{where}{error}") from error
    except OSError as error:
        from knarr.cgroups.errors import RefusedLimit

        is_limit = isinstance(error, RefusedLimit)
        if not is_limit:
            _check_needed(error, needed=chosen or not lenient)
        field = "linux.resources" if is_limit else f"linux.cgroupsPath: {path}"
        where = f": {error.filename}" if error.filename else ""
        raise InvalidArgument(f"{field}: {error.strerror}{where}") from error
    # A scope of systemd's is not removed by removing directories. On v2 beside v1 there may
    # come to be one later, by an update or by others.
    directories = [] if manager.name == "systemd" else sorted(set(group.paths.values()))
    if directories and getattr(manager, "unified", None) and "unified" not in group.paths:
        directories.append(manager.unified + group.path)
    values |= {"made": True, "freezing": group.freezing(), "directories": directories}
    container.save()
    return group


def _have_small_keepers(manager: "Any") -> None:
    from knarr.runtime import init

    try:
        manager.keep_by(init.blob())
    except LookupError:
        return  # no program for this machine: it is this one's copy


def _check_needed(error: OSError, *, needed: bool) -> None:
    """Raise ``_Denied`` for a group that is not needed and not ours to make."""
    if not needed and error.errno in _DENIED:
        where = f": {error.filename}" if error.filename else ""
        raise _Denied(f"{error.strerror}{where}") from error


def _do_without(container: "Container", resources: "dict[str, Any]", reason: str) -> "Any":
    """Return the group that is none; raises InvalidArgument if there are limits."""
    values = container.values["cgroup"]
    values |= {"manager": "none", "made": False, "directories": []}
    try:
        group = container.manager().create(values["path"], resources)
    except ValueError as error:
        text = f"linux.resources: need a control group, and none can be made here ({reason})"
        raise InvalidArgument(text) from error
    values["freezing"] = group.freezing()
    container.save()
    return group


def _beside_own(name: str) -> str:
    """Return the path of a group beside this process's own, which is what a user may have.

    That one has processes, so it can hand no controllers down (cgroups(7), "no internal
    processes").
    """
    own = files.read("/proc/self/cgroup").rpartition("::")[2].strip()
    return f"{own.rpartition('/')[0]}/knarr-oci-{name}"
