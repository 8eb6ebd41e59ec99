"""Makes groups on a machine with cgroup v2 alone: directories and controllers."""

import errno
import os

from knarr.cgroups import accounting, base, values
from knarr.cgroups.v2 import devices, group
from knarr.cgroups.v2.group import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from knarr.cgroups.files import Plan
    from knarr.cgroups.protocol import Usage

# Accounting needs these even when nothing is limited (CPU time itself needs none).
ACCOUNTED = ("cpu", "io", "memory", "pids")


class Manager(base.Manager):
    """The cgroupfs manager of cgroup v2 (``protocol.Manager``)."""

    __slots__ = ("_held", "mount_point")

    name = "cgroupfs-v2"
    version = 2

    def __init__(self, mount_point: str) -> None:
        self.mount_point = mount_point
        self._held: int | None = None

    def prepare(self) -> None:
        """Do once what every group will need (``protocol.Manager``)."""
        try:
            self._held = devices.hold()
        except OSError:
            self._held = None  # without BPF, as the first group will say
        accounting.usage(group.ACCOUNTS, self.mount_point)

    def plan(self, resources: "Mapping[str, Any]") -> "Plan":
        """Return the plan for linux.resources; the caller closes it. Raises as ``create``."""
        return group.whole_plan(resources, self._held)

    def at(self, path: str) -> Group:
        """Return the group of a path, which need not be there."""
        path = values.control_path(path)
        return Group(path, self.mount_point + path)

    def make(self, path: str, work: "Plan") -> tuple[Group, list[str]]:
        """Make a group without limits; return it and its new directories. OSError if in use."""
        del work
        found = self.at(path)
        return found, [found.directory] if base.make_directory(found.directory) else []

    def carry_out(self, found: Group, work: "Plan") -> None:
        """Set what a plan says in a new group's directory; raises as ``create``."""
        group.carry_out(found.directory, work, update=False, wanted=ACCOUNTED)

    def discard(self, found: Group, made: list[str]) -> None:
        """Remove a group that is not to be, if it is new."""
        if made:
            found.destroy()

    def open(self, path: str) -> Group:
        """Return an existing group; FileNotFoundError when there is none."""
        found = self.at(path)
        if not os.path.isdir(found.directory):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), found.directory)
        return found

    def usage(self, path: str) -> "Usage":
        """Return what the group of a path used; None for everything when it is gone."""
        return accounting.usage(group.ACCOUNTS, self.mount_point + path)

    def lacking(self, fields: "Iterable[str]") -> list[str]:
        """Return those fields of linux.resources that this machine does not have."""
        from knarr.cgroups import abilities  # supervisors do without

        return abilities.lacking_v2(self.mount_point, fields)

    def remove(self, path: str) -> None:
        """Kill what is left in the group of a path and remove it; that it is gone is no error."""
        try:
            os.rmdir(self.mount_point + path)
        except OSError:
            self.at(path).destroy()  # in use, or gone
