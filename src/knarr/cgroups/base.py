"""What the managers of v1 and v2 have in common: the order in which a group is made."""

import errno
import os

from knarr.cgroups import files, processes
from knarr.cgroups.errors import UnsupportedResource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from knarr.cgroups.files import Plan
    from knarr.cgroups.protocol import Group

DELEGATE = "/sys/kernel/cgroup/delegate"
DELEGATED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


class Manager:
    """``create`` and ``unsupported`` of ``protocol.Manager``, by way of four smaller steps."""

    __slots__ = ()

    if TYPE_CHECKING:

        def plan(self, resources: Mapping[str, Any]) -> Plan:
            """Return what resources ask for. Pure but for a device program that is loaded."""

        def make(self, path: str, work: Plan) -> tuple[Any, list[str]]:
            """Return the group without limits, and the directories that are new."""

        def carry_out(self, found: Any, work: Plan) -> None:
            """Set the limits of a new group."""

        def discard(self, found: Any, made: list[str]) -> None:
            """Remove what is new of a group whose limits were refused."""

        def open(self, path: str) -> Group:
            """Return an existing group."""

    def exists(self, path: str) -> bool:
        """Return whether the group of a path is there (``protocol.Manager``)."""
        try:
            self.open(path)
        except FileNotFoundError:
            return False
        return True

    def create(
        self,
        path: str,
        resources: "Mapping[str, Any]",
        *,
        owner: "int | tuple[int, int] | None" = None,
    ) -> "Group":
        """Return a new group with its limits set (``protocol.Manager`` has the errors)."""
        work = self.plan(resources)
        try:
            found: Group
            found, made = self.make(path, work)
            try:
                self.carry_out(found, work)
                if owner is not None and "unified" in found.paths:
                    delegate(found.paths["unified"], owner)
            except BaseException:  # also a signal's: a group without its limits must not stay
                self.discard(found, made)
                raise
        finally:
            if work[2] is not None:
                os.close(work[2])
        return found

    def unsupported(
        self, resources: "Mapping[str, Any]", parent: str = "/"
    ) -> list[UnsupportedResource]:
        """Return what of resources this machine cannot do."""
        left = {name: value for name, value in resources.items() if name != "devices"}
        found: list[UnsupportedResource] = []
        path = f"{parent.rstrip('/')}/knarr-probe-{os.getpid()}"
        while True:
            try:
                self.create(path, left).destroy()
            except UnsupportedResource as error:
                found.append(error)
                before = str(left)
                without(left, error.field)
                if str(left) == before:
                    raise
            else:
                return found


def make_directory(directory: str) -> bool:
    """Make a group's directory and those above it; return False when it was there.

    Raises OSError (EBUSY) when it was there with processes in it or frozen: its limits
    would be another's.
    """
    try:
        os.mkdir(directory)
    except FileNotFoundError:
        os.makedirs(directory)
    except FileExistsError:
        if found := processes.procs(directory):
            raise OSError(errno.EBUSY, not_empty(found), directory) from None
        for name in ("cgroup.freeze", "freezer.self_freezing"):
            if files.read_int(f"{directory}/{name}"):
                text = "container's cgroup unexpectedly frozen"
                raise OSError(errno.EBUSY, text, directory) from None
        return False
    return True


def not_empty(pids: "list[int]") -> str:
    """Return why a group that has processes is no new container's, in words that others use."""
    return f"container's cgroup is not empty: {len(pids)} process(es) found"


def delegate(directory: str, owner: "int | tuple[int, int]") -> None:
    """Give a group's directory and the kernel's list of files to be delegated to a user.

    The list is in /sys/kernel/cgroup/delegate (since 4.15). Limits stay root's.
    """
    uid, gid = (owner, -1) if isinstance(owner, int) else owner
    try:
        names = tuple(files.read(DELEGATE).split())
    except OSError:
        names = DELEGATED  # before 4.15, or without sysfs
    os.chown(directory, uid, gid)
    for name in names:
        try:
            os.chown(f"{directory}/{name}", uid, gid)
        except FileNotFoundError:
            continue


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
