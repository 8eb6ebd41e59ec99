"""Makes groups on a machine with cgroup v2 alone: directories, controllers, delegation."""

import errno
import os

from knarr.cgroups import files, processes, values
from knarr.cgroups.errors import UnsupportedResource
from knarr.cgroups.v2 import devices, freezer, group, memory
from knarr.cgroups.v2.group import ACCOUNTED, Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

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
        path = values.control_path(path)
        work = group.plan(resources)
        program = devices.load(resources)
        directory = self.mount_point + path
        made = False
        try:
            made = make(directory)
            enable(self.mount_point, directory, group.needed(work), ACCOUNTED)
            memory.complete(directory, resources)
            group.carry_out(directory, work, update=False)
            if program is not None:
                devices.attach(directory, program)
            if owner is not None:
                delegate(directory, owner)
        except BaseException:
            if made:
                processes.remove([directory], Group(path, directory).kill)
            raise
        finally:
            if program is not None:
                os.close(program)
        return Group(path, directory)

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


def enable(
    mount_point: str, directory: str, required: "Mapping[str, str]", wanted: "Iterable[str]" = ()
) -> None:
    """Enable controllers for directory in ``cgroup.subtree_control`` of all groups above it.

    required: name to the field of linux.resources that needs it; wanted: names to take
    along where they exist. Nothing is written when the group has them all already.
    Raises UnsupportedResource when a required one does not exist here, OSError when the
    kernel refuses it (a group with processes cannot give controllers to its children).
    """
    names = {*required, *wanted}
    if names <= _read_set(f"{directory}/cgroup.controllers"):
        return
    parent = mount_point
    for part in directory[len(mount_point) :].strip("/").split("/"):
        available = _read_set(f"{parent}/cgroup.controllers")
        for name, field in required.items():
            if name not in available:
                text = f"cgroup controller {name} is not available in {parent}"
                raise UnsupportedResource(field, text)
        missing = (names & available) - _read_set(f"{parent}/cgroup.subtree_control")
        for name in sorted(missing):
            _enable_one(parent, name, name in required)
        parent = f"{parent}/{part}"


def _enable_one(parent: str, name: str, required: bool) -> None:
    path = f"{parent}/cgroup.subtree_control"
    try:
        files.write(path, f"+{name}")
    except OSError as error:
        if not required:
            return  # only accounting: without it the figures are None
        advice = ""
        if error.errno == errno.EBUSY:
            advice = " (it holds processes itself: move them into a group below it)"
        text = f"cgroup controller {name} cannot be enabled: {error.strerror}{advice}"
        raise OSError(error.errno, text, path) from None


def _read_set(path: str) -> set[str]:
    return set(files.read(path).split())


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
