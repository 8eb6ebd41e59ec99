"""Makes groups on machines with v1 hierarchies: one directory in each."""

import errno
import os

from knarr.cgroups import accounting, base, files, values
from knarr.cgroups.errors import UnsupportedResource
from knarr.cgroups.v1 import cpuset, group, io, memory
from knarr.cgroups.v1.group import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from knarr.cgroups.files import Plan
    from knarr.cgroups.mounts import Hierarchy
    from knarr.cgroups.protocol import Usage

# Where an exec is tracked, the first that is mounted; else whatever is.
TRACKING = ("freezer", "pids", "devices", "memory", "cpu")


class Manager(base.Manager):
    """The cgroupfs manager of cgroup v1 and hybrid machines (``protocol.Manager``).

    controllers: mount point of each v1 controller. unified: mount point of v2 or None;
    on_v2: the controllers it has. join_unified: every group goes there too, as systemd,
    when it runs, tracks its units there; else only groups that set something in it,
    since moving a process into it costs as much as all v1 hierarchies together.
    tracking: mount point of the hierarchy in which an exec gets a group of its own.
    """

    __slots__ = (
        "accounts",
        "controllers",
        "join_unified",
        "mount_points",
        "name",
        "on_v2",
        "tracking",
        "unified",
    )

    version = 1

    def __init__(self, hierarchies: "list[Hierarchy]", join_unified: bool) -> None:
        self.controllers: dict[str, str] = {}
        self.unified: str | None = None
        for one in hierarchies:
            if one.version == 2:
                self.unified = one.mount_point
            for name in one.controllers:
                self.controllers[name] = one.mount_point
        # Joined controllers (cpu,cpuacct) have one mount point.
        self.mount_points = tuple(dict.fromkeys(self.controllers.values()))
        places = [self.controllers[one] for one in TRACKING if one in self.controllers]
        self.tracking = (*places, *self.mount_points)[0]
        self.accounts = group.accounts(self.controllers, self.unified)
        self.on_v2: tuple[str, ...] = ()
        if self.unified is not None:
            self.on_v2 = tuple(files.read(f"{self.unified}/cgroup.controllers").split())
        self.join_unified = join_unified and self.unified is not None
        self.name = "cgroupfs-v1" if self.unified is None else "cgroupfs-hybrid"

    def prepare(self) -> None:
        """Do once what every group will need (``protocol.Manager``)."""
        accounting.usage(self.accounts, "")

    def plan(self, resources: "Mapping[str, Any]") -> "Plan":
        """Return the plan for this machine; the caller closes it. Raises as ``create``."""
        return group.plan(resources, self.controllers, self.on_v2)

    def make(self, path: str, work: "Plan") -> tuple[Group, list[str]]:
        """Make a group without limits; return it and its new directories. OSError if in use."""
        path = values.control_path(path)
        found = Group(path, self, self.mount_points, None)
        made: list[str] = []
        try:
            for mount_point in self.mount_points:
                directory = mount_point + path
                try:
                    os.mkdir(directory)
                except (FileNotFoundError, FileExistsError):
                    if not self._make(mount_point, directory):
                        continue
                made.append(directory)
            if mount_point := self.controllers.get("cpuset", ""):
                cpuset.fill(mount_point, mount_point + path)
            if work[1] or work[2] is not None or self.join_unified:
                made += self.add_unified(found)
        except BaseException:  # also a signal's: nobody would know of what was made so far
            self.discard(found, made)
            raise
        return found, made

    def _make(self, mount_point: str, directory: str) -> bool:
        """Make one directory and its parents; return False when it was there (OSError if used)."""
        parent = os.path.dirname(directory)
        first = not os.path.isdir(parent)
        if not base.make_directory(directory):
            return False
        if first and mount_point == self.controllers.get("cpuset"):
            cpuset.clone_children(parent)
        if first and mount_point == self.controllers.get("blkio"):
            # Once in a boot, when the parent of all containers is made.
            io.start_accounting(parent)
        return True

    carry_out = staticmethod(group.carry_out)

    def discard(self, found: Group, made: list[str]) -> None:
        """Remove what is new of a group that is not to be."""
        del found
        group.destroy(made)

    def add_unified(self, found: Group) -> list[str]:
        """Give a group its directory on v2; return it in a list when it is new.

        Raises UnsupportedResource when no v2 hierarchy is mounted (for a device program).
        """
        if self.unified is None:
            raise UnsupportedResource("devices", "neither v1 devices nor cgroup v2 is mounted")
        directory = self.unified + found.path
        made = base.make_directory(directory)
        found.unified = directory
        return [directory] if made else []

    def _at(self, path: str) -> Group:
        """Return the group of a path with all places that it may have."""
        path = values.control_path(path)
        unified = None if self.unified is None else self.unified + path
        return Group(path, self, self.mount_points, unified)

    def open(self, path: str) -> Group:
        """Return an existing group; FileNotFoundError when there is none."""
        found = self._at(path)
        path = found.path
        found.mount_points = [one for one in self.mount_points if os.access(one + path, os.F_OK)]
        if found.unified is not None and not os.access(found.unified, os.F_OK):
            found.unified = None
        if not found.mount_points:
            raise FileNotFoundError(errno.ENOENT, "no such cgroup in any hierarchy", found.path)
        return found

    def usage(self, path: str) -> "Usage":
        """Return what the group of a path used; None for everything when it is gone.

        Of CPU time the split in user and system is sampled at ticks (4 ms), the total exact:
        the split is scaled to the total, as the kernel does for ps(1).
        """
        found = accounting.usage(self.accounts, path)
        total, user, system = found["cpu_total"], found["cpu_user"], found["cpu_system"]
        if total is not None and user is not None and system is not None:
            user = total * user // (user + system) if user + system else total
            found["cpu_user"], found["cpu_system"] = user, total - user
        at = self.controllers.get("memory")
        if at is not None and found["memory_oom_kills"] is not None:
            # v1 counts a victim in its own group only; the container may have made some.
            if os.stat(at + path).st_nlink > 2:
                found["memory_oom_kills"] = memory.oom_kills(at + path)
        return found

    def lacking(self, fields: "Iterable[str]") -> list[str]:
        """Return those fields of linux.resources that this machine does not have."""
        from knarr.cgroups import abilities  # supervisors do without

        return abilities.lacking_v1(self.controllers, fields)

    def remove(self, path: str) -> None:
        """Kill what is left in the group of a path and remove it; that it is gone is no error."""
        try:
            for mount_point in self.mount_points:
                os.rmdir(mount_point + path)
            if self.unified is not None and os.access(self.unified + path, os.F_OK):
                os.rmdir(self.unified + path)
        except OSError:
            # In use, or gone in part: what was left off.
            self._at(path).destroy()
