"""Makes groups on a machine with cgroup v2 alone: directories, controllers, delegation."""

import errno
import os

from knarr.cgroups import files, processes, values
from knarr.cgroups.errors import UnsupportedResource
from knarr.cgroups.v2 import controllers, devices, freezer, group, memory
from knarr.cgroups.v2.group import ACCOUNTED, Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from knarr.cgroups.v2.group import Work

DELEGATE = "/sys/kernel/cgroup/delegate"
DELEGATED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


class Manager:
    """The cgroupfs manager of cgroup v2 (``protocol.Manager``)."""

    __slots__ = ("mount_point",)

    name = "cgroupfs-v2"
    version = 2

    def __init__(self, mount_point: str) -> None:
        self.mount_point = mount_point

    def create(
        self,
        path: str,
        resources: "Mapping[str, Any]",
        *,
        owner: "int | tuple[int, int] | None" = None,
    ) -> Group:
        """Return a new group with its limits set (``protocol.Manager`` has the errors)."""
        work = group.plan(resources)
        program = devices.load(resources)
        try:
            found, made = self.make(path)
            try:
                _set(found, resources, work, program)
                if owner is not None:
                    delegate(found.directory, owner)
            except BaseException:
                if made:
                    found.destroy()
                raise
        finally:
            if program is not None:
                os.close(program)
        return found

    def make(self, path: str) -> tuple[Group, bool]:
        """Make a group without limits; return it and whether it is new. OSError if in use."""
        path = values.control_path(path)
        directory = self.mount_point + path
        made = make(directory)
        return Group(path, directory), made

    def open(self, path: str) -> Group:
        """Return an existing group; FileNotFoundError when there is none."""
        path = values.control_path(path)
        directory = self.mount_point + path
        if not os.path.isdir(directory):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory)
        return Group(path, directory)

    def unsupported(
        self, resources: "Mapping[str, Any]", parent: str = "/"
    ) -> list[UnsupportedResource]:
        """Return what of resources this machine cannot do."""
        return probe(self, resources, parent)


def _set(found: Group, resources: "Mapping[str, Any]", work: "Work", program: int | None) -> None:
    controllers.enable(found.directory, group.needed(work), ACCOUNTED)
    memory.complete(found.directory, resources)
    group.carry_out(found.directory, work, update=False)
    if program is not None:
        devices.attach(found.directory, program)


def make(directory: str) -> bool:
    """Make a group's directory and those above it; return False when it was there.

    Raises OSError (EBUSY) when it was there with processes in it or frozen: its limits
    would be another's.
    """
    try:
        os.mkdir(directory)
    except FileNotFoundError:
        os.makedirs(directory)
    except FileExistsError:
        if processes.procs(directory):
            raise OSError(errno.EBUSY, "cgroup exists and has processes", directory) from None
        if os.path.exists(f"{directory}/cgroup.freeze") and freezer.frozen(directory):
            raise OSError(errno.EBUSY, "cgroup exists and is frozen", directory) from None
        return False
    return True


def delegate(directory: str, owner: "int | tuple[int, int]") -> None:
    """Give a group's directory and the kernel's list of files to be delegated to a user.

    The list is in /sys/kernel/cgroup/delegate (since 4.15). Limits stay root's.
    """
    uid, gid = (owner, -1) if isinstance(owner, int) else owner
    try:
        names = tuple(files.read(DELEGATE).split())
    except OSError:
        names = DELEGATED
    os.chown(directory, uid, gid)
    for name in names:
        try:
            os.chown(f"{directory}/{name}", uid, gid)
        except FileNotFoundError:
            continue


def probe(
    manager: "Any", resources: "Mapping[str, Any]", parent: str
) -> "list[UnsupportedResource]":
    """Return what a manager cannot do, by making groups with one part less each time."""
    left = {name: value for name, value in resources.items() if name != "devices"}
    found: list[UnsupportedResource] = []
    path = f"{parent.rstrip('/')}/knarr-probe-{os.getpid()}"
    while True:
        try:
            manager.create(path, left).destroy()
        except UnsupportedResource as error:
            found.append(error)
            before = str(left)
            without(left, error.field)
            if str(left) == before:
                raise
        else:
            return found


def without(resources: "dict[str, Any]", field: str) -> None:
    """Take a field such as ``memory.swap`` or ``blockIO.weightDevice`` out of resources."""
    name, _, key = field.partition(".")
    name = name.split(" ", 1)[0]
    inner = resources.get(name)
    key = key.split("[", 1)[0]
    if key and isinstance(inner, dict):
        resources[name] = {one: value for one, value in inner.items() if one != key}
    if not key or not isinstance(inner, dict) or key not in inner:
        resources.pop(name, None)
