"""Makes groups in the hierarchies of cgroup v1, on hybrid machines also in that of v2."""

import errno
import os

from knarr.cgroups import files, processes, values
from knarr.cgroups.errors import UnsupportedResource
from knarr.cgroups.v1 import cpuset, devices, freezer, group, io
from knarr.cgroups.v1.group import Group
from knarr.cgroups.v2 import controllers as v2_controllers
from knarr.cgroups.v2 import devices as v2_devices
from knarr.cgroups.v2 import group as v2
from knarr.cgroups.v2 import manager as v2manager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from knarr.cgroups.mounts import Hierarchy


class Manager:
    """The cgroupfs manager of cgroup v1 and hybrid machines (``protocol.Manager``).

    controllers: mount point of each v1 controller. unified: mount point of v2 or None;
    on_v2: the controllers it has. join_unified: every group goes there too, as systemd,
    when it runs, tracks its units there; else only groups that set something in it,
    since moving a process into it costs as much as all v1 hierarchies together.
    """

    __slots__ = ("controllers", "join_unified", "name", "on_v2", "unified")

    version = 1

    def __init__(self, hierarchies: "list[Hierarchy]", join_unified: bool) -> None:
        self.controllers: dict[str, str] = {}
        self.unified: str | None = None
        for one in hierarchies:
            if one.version == 2:
                self.unified = one.mount_point
            for name in one.controllers:
                self.controllers[name] = one.mount_point
        self.on_v2: tuple[str, ...] = ()
        if self.unified is not None:
            self.on_v2 = tuple(files.read(f"{self.unified}/cgroup.controllers").split())
        self.join_unified = join_unified and self.unified is not None
        self.name = "cgroupfs-v1" if self.unified is None else "cgroupfs-hybrid"

    def plan(self, resources: "Mapping[str, Any]") -> group.Plan:
        """Return the plan for this machine; the caller closes it. Raises as ``create``."""
        return group.plan(resources, self.controllers, self.on_v2)

    def create(
        self,
        path: str,
        resources: "Mapping[str, Any]",
        *,
        owner: "int | tuple[int, int] | None" = None,
    ) -> Group:
        """Return a new group with its limits set (``protocol.Manager`` has the errors)."""
        path = values.control_path(path)
        work = self.plan(resources)
        made: list[str] = []
        found = Group(path, {}, self)
        try:
            for name, mount_point in self.controllers.items():
                directory = mount_point + path
                if directory not in found.paths.values() and self._make(name, directory):
                    made.append(directory)
                found.paths[name] = directory
            if work.v2 or work.program is not None or self.join_unified:
                made += self.add_unified(found)
            self.carry_out(found, work, update=False)
            if owner is not None and "unified" in found.paths:
                v2manager.delegate(found.paths["unified"], owner)
        except BaseException:
            group.destroy(made)
            raise
        finally:
            work.close()
        return found

    def _make(self, name: str, directory: str) -> bool:
        """Make one directory; return False when it was there (OSError when in use)."""
        try:
            os.mkdir(directory)
        except FileNotFoundError:
            v2manager.make(directory)
            if name == "cpuset":
                cpuset.inherit(self.controllers[name], directory)
                cpuset.clone_children(os.path.dirname(directory))
            elif name == "blkio":
                # Once in a boot, when the parent of all containers is made.
                io.start_accounting(os.path.dirname(directory))
            return True
        except FileExistsError:
            self._refuse_used(directory)
            return False
        return True

    @staticmethod
    def _refuse_used(directory: str) -> None:
        if processes.procs(directory):
            raise OSError(errno.EBUSY, "cgroup exists and has processes", directory)
        if os.path.exists(f"{directory}/freezer.state") and freezer.frozen(directory):
            raise OSError(errno.EBUSY, "cgroup exists and is frozen", directory)

    def add_unified(self, found: Group) -> list[str]:
        """Give a group its directory on v2; return it in a list when it is new.

        Raises UnsupportedResource when no v2 hierarchy is mounted (for a device program).
        """
        if self.unified is None:
            raise UnsupportedResource("devices", "neither v1 devices nor cgroup v2 is mounted")
        directory = self.unified + found.path
        made = v2manager.make(directory)
        found.paths["unified"] = directory
        return [directory] if made else []

    def carry_out(self, found: Group, work: group.Plan, update: bool) -> None:
        """Set what a plan says in a group's directories; raises as ``files.carry_out``."""
        for name, writes in work.v1:
            group.CONTROLLERS[name].apply(found.paths[name], writes, update)
        if work.devices:
            devices.apply(found.paths["devices"], work.devices, update)
        if work.v2 and self.unified is not None:
            directory = found.paths["unified"]
            v2_controllers.enable(directory, v2.needed(work.v2))
            v2.carry_out(directory, work.v2, update)
        if work.program is not None:
            v2_devices.attach(found.paths["unified"], work.program)

    def open(self, path: str) -> Group:
        """Return an existing group; FileNotFoundError when there is none."""
        path = values.control_path(path)
        places = {name: mount + path for name, mount in self.controllers.items()}
        if self.unified is not None:
            places["unified"] = self.unified + path
        paths = {name: place for name, place in places.items() if os.path.isdir(place)}
        if not paths:
            raise FileNotFoundError(errno.ENOENT, "no such cgroup in any hierarchy", path)
        return Group(path, paths, self)

    def unsupported(
        self, resources: "Mapping[str, Any]", parent: str = "/"
    ) -> list[UnsupportedResource]:
        """Return what of resources this machine cannot do."""
        return v2manager.probe(self, resources, parent)
