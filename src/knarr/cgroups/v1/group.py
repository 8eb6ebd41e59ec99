"""One group of cgroup v1: a directory in each hierarchy, on hybrid machines one of v2 as well."""

import errno
import os

from knarr.cgroups import accounting, files, processes, undo, values
from knarr.cgroups.errors import UnsupportedResource
from knarr.cgroups.v1 import (
    cpu,
    cpuset,
    devices,
    freezer,
    hugetlb,
    io,
    memory,
    net_cls,
    net_prio,
    pids,
    rdma,
    unified,
)
from knarr.cgroups.v2 import cpu as v2_cpu
from knarr.cgroups.v2 import devices as v2_devices
from knarr.cgroups.v2 import freezer as v2_freezer
from knarr.cgroups.v2 import group as v2
from knarr.cgroups.v2 import io as v2_io
from knarr.cgroups.v2 import memory as v2_memory
from knarr.cgroups.v2 import pids as v2_pids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

    from knarr.cgroups.accounting import Account
    from knarr.cgroups.files import Plan, Work
    from knarr.cgroups.processes import Freezer
    from knarr.cgroups.protocol import Controller, Stats, Usage
    from knarr.cgroups.v1.manager import Manager

# Sections of linux.resources.
SECTIONS: "dict[str, tuple[Controller, ...]]" = {
    "cpu": (cpu, cpuset),
    "memory": (memory,),
    "blockIO": (io,),
    "pids": (pids,),
    "hugepageLimits": (hugetlb,),
    "rdma": (rdma,),
    "network": (net_cls, net_prio),
    "devices": (devices,),
}
CONTROLLERS = {one.CONTROLLER: one for modules in SECTIONS.values() for one in modules}
NOWHERE = "/nonexistent"


def accounts(controllers: "Mapping[str, str]", unified: str | None) -> "list[Account]":
    """Return where what is counted: by v1, or by v2 what a hybrid machine has there.

    controllers: mount points of v1 controllers; unified: that of v2.
    """
    found = []
    for name, module, other in (
        ("cpuacct", cpu, v2_cpu),
        ("memory", memory, v2_memory),
        ("blkio", io, v2_io),
        ("pids", pids, v2_pids),
    ):
        figures = module.FIGURES if name in controllers else other.FIGURES
        found += accounting.accounts(controllers.get(name, unified or NOWHERE), figures)
    return found


def plan(
    resources: "Mapping[str, Any]", mounted: "Collection[str]", on_v2: "Collection[str]"
) -> "Plan":
    """Return the plan for linux.resources.

    mounted: the controllers of v1 hierarchies; on_v2: those a hybrid machine has on v2,
    where they are set in the way of v2. Raises ValueError, and UnsupportedResource for
    a controller that is nowhere.
    """
    here: Work = []
    there: Work = []
    # Most ask for little, and each function that need not run is a page less to copy.
    for section in resources:
        for module in SECTIONS.get(section, ()):
            if module.CONTROLLER in mounted:
                here.append((module.CONTROLLER, module.plan(resources)))
            else:
                there += _plan_elsewhere(module, resources, on_v2)
    if "unified" in resources:
        there.append(("unified", unified.plan(resources, on_v2)))
    # Last: nothing can be refused any more, so nobody has to close it here.
    return here, there, None if "devices" in mounted else v2_devices.load(resources)


def _plan_elsewhere(
    module: "Controller", resources: "Mapping[str, Any]", on_v2: "Collection[str]"
) -> "Work":
    name = module.CONTROLLER
    other = "io" if name == "blkio" else name
    if other in on_v2:
        writes = v2.CONTROLLERS[other].plan(resources)
        return [(other, writes)] if writes else []
    if name != "devices" and (writes := module.plan(resources)):
        raise UnsupportedResource(writes[0][2], f"cgroup controller {name} is not mounted")
    return []


class Group:
    """A group of cgroup v1 or of a hybrid machine (``protocol.Group``).

    mount_points: of the v1 hierarchies it is in; unified: its directory on v2 or None.
    """

    __slots__ = ("_manager", "mount_points", "path", "unified")

    def __init__(
        self, path: str, manager: "Manager", mount_points: "Sequence[str]", unified: str | None
    ) -> None:
        self.path = path
        self.mount_points = mount_points
        self.unified = unified
        self._manager = manager

    @property
    def paths(self) -> dict[str, str]:
        """Return the directory of each controller (``protocol.Group``)."""
        controllers, within = self._manager.controllers, self.mount_points
        found = {name: one + self.path for name, one in controllers.items() if one in within}
        if self.unified is not None:
            found["unified"] = self.unified
        return found

    def at(self, controller: str) -> str:
        """Return the directory of a v1 controller, which has to be mounted."""
        return self._manager.controllers[controller] + self.path

    def _directories(self) -> list[str]:
        found = [one + self.path for one in self.mount_points]
        return found if self.unified is None else [*found, self.unified]

    def clone_fd(self) -> int | None:
        """Return a directory descriptor for CLONE_INTO_CGROUP, None on v1."""
        return None

    def attach(self, pid: int) -> None:
        """Move a process into the group; OSError, ESRCH when it is gone."""
        for one in self.entrances():
            files.write(f"{os.path.dirname(one)}/cgroup.procs", str(pid))

    def entrances(self) -> tuple[str, ...]:
        """Return the files into which a process writes ``0`` to move itself in.

        A write of a pid takes a lock over all forks and exits, and the first one after a
        while waits for an RCU grace period: milliseconds. ``0`` in ``tasks`` takes none.
        """
        path = self.path + "/tasks"
        found = [one + path for one in self.mount_points]
        if self.unified is not None:
            found.append(self.unified + "/cgroup.procs")
        return tuple(found)

    def child(self, name: str, *, made: bool = False) -> "Group":
        """Return a new group below for what one exec starts (``protocol.Group``)."""
        child = Child(f"{self.path}/{values.child_name(name)}", self._manager, self)
        if not made:
            os.mkdir(child.mount_points[0] + child.path)
        return child

    def update(self, resources: "Mapping[str, Any]") -> None:
        """Change limits; what resources do not name stays. Errors as ``Manager.create``."""
        if "memory" in self._manager.controllers:
            v2_memory.check(f"{self.at('memory')}/memory.usage_in_bytes", resources)
        if self.unified is not None:
            resources = self._complete(self.unified, resources)
        work = self._manager.plan(resources)
        try:
            if (work[1] or work[2] is not None) and self.unified is None:
                self._join_unified()
            carry_out(self, work, update=True)
        finally:
            if work[2] is not None:
                os.close(work[2])

    def _complete(self, directory: str, resources: "Mapping[str, Any]") -> "Mapping[str, Any]":
        """Return resources with what the conversion to v2 needs for controllers that are there."""
        if "cpu" in self._manager.on_v2:
            resources = v2_cpu.complete(directory, resources)
        if "memory" in self._manager.on_v2:
            resources = v2_memory.complete(directory, resources)
        return resources

    def _join_unified(self) -> None:
        """Take the container into the v2 hierarchy, which so far nothing needed."""
        self._manager.add_unified(self)
        for pid in self.procs():
            try:
                files.write(f"{self.unified}/cgroup.procs", str(pid))
            except ProcessLookupError:
                continue

    def _freezer(self) -> "tuple[Freezer, str] | None":
        """Return what freezes this group and where, None when nothing does."""
        if self._manager.controllers.get("freezer") in self.mount_points:
            return freezer, self.at("freezer")
        return (v2_freezer, self.unified) if self.unified is not None else None

    def freeze(self) -> None:
        """Stop all processes and return when they stand still; TimeoutError if one does not."""
        if (found := self._freezer()) is None:
            raise OSError(errno.EOPNOTSUPP, "no freezer hierarchy is mounted", self.path)
        module, directory = found
        module.freeze(directory)

    def thaw(self) -> None:
        """Let all processes run again."""
        if found := self._freezer():
            module, directory = found
            module.thaw(directory)

    def frozen(self) -> bool:
        """Return whether the group was frozen."""
        if found := self._freezer():
            module, directory = found
            return module.frozen(directory)
        return False

    def freezing(self) -> str:
        """Return the file that has 1 while it is frozen (``protocol.Group``)."""
        if self._manager.controllers.get("freezer") in self.mount_points:
            return f"{self.at('freezer')}/{freezer.FROZEN}"
        return f"{self.unified}/{v2_freezer.FROZEN}" if self.unified is not None else ""

    def kill(self, signal: int = processes.SIGKILL) -> None:
        """Send a signal to all processes inside; with SIGKILL return when they are gone."""
        if signal == processes.SIGKILL:
            kill(self._holding())
        elif found := self._freezer():
            processes.signal_group(*found, signal)
        else:
            processes.signal_all(self.procs(), signal)

    def _holding(self) -> list[str]:
        """Return the directories whose processes are this group's: the freezer's first."""
        first = self._manager.controllers.get("freezer", "") + self.path
        return sorted(self._directories(), key=lambda one: one != first)

    def procs(self) -> list[int]:
        """Return the ids of all processes inside and below."""
        return processes.procs(self._holding()[0])

    def wait_empty(self, timeout: float) -> bool:
        """Wait at most timeout seconds until no process is left; return whether so."""
        return processes.poll_empty(self._holding()[0], timeout)

    def usage(self) -> "Usage":
        """Return what was used in all (``protocol.Group`` has the keys)."""
        return self._manager.usage(self.path)

    def stats(self, detail: bool = False) -> "Stats":
        """Return what was used (``protocol.Group`` has the keys)."""
        paths = self.paths
        other = paths.get("unified", NOWHERE)
        if "memory" in paths:
            in_memory = memory.more(paths["memory"], detail)
        else:
            in_memory = v2_memory.more(other, detail)
        waited = cpu.more(paths["cpu"]) if "cpu" in paths else v2_cpu.more(other)
        return accounting.stats(
            self.usage(), waited, in_memory, pids.more(paths.get("pids", other))
        )

    def oom_kills(self) -> int:
        """Return how many processes the OOM killer ended."""
        if directory := self.paths.get("memory"):
            return memory.oom_kills(directory) or 0
        return v2_memory.oom_kills(self.paths.get("unified", NOWHERE)) or 0

    def destroy(self) -> None:
        """Kill what is left and remove the group; twice is no error."""
        destroy(self._holding())


def carry_out(found: Group, work: "Plan", update: bool = False) -> None:
    """Set what a plan says in a group's directories; raises as ``files.carry_out``.

    An update that is refused changes nothing.
    """
    here, there, program = work
    former = undo.Former() if update else None
    try:
        for name, writes in here:
            if former is not None:
                former.keep(CONTROLLERS[name], found.at(name), writes)
            CONTROLLERS[name].apply(found.at(name), writes, update)
        if found.unified is not None and (there or program is not None):
            v2.carry_out(found.unified, work, update)
    except BaseException as error:
        undo.settle(former, error)
        raise


def kill(directories: list[str]) -> None:
    """Kill all processes in the directories of one group; the freezer is found by its file.

    Each directory is emptied, as a process may be in only some of them when a start was
    broken off. Raises TimeoutError when a process does not die.
    """
    frozen = [one for one in directories if os.path.exists(f"{one}/freezer.state")]
    for directory in directories:
        processes.kill_until_empty(directory, freezer, frozen)


def destroy(directories: list[str]) -> None:
    """Remove the directories of one group, after killing what is left in them."""
    processes.remove(directories, lambda: kill(directories))


class Child(Group):
    """The group of one exec: its own in the tracking hierarchy, the container's in all others."""

    __slots__ = ("_parent",)

    def __init__(self, path: str, manager: "Manager", parent: Group) -> None:
        within = parent.mount_points
        super().__init__(
            path, manager, (manager.tracking if manager.tracking in within else within[0],), None
        )
        self._parent = parent

    def entrances(self) -> tuple[str, ...]:
        """Return the files into which a process writes ``0`` to move itself in."""
        (tracking,) = self.mount_points
        own = f"{tracking}{self._parent.path}/tasks"
        others = [one for one in self._parent.entrances() if one != own]
        return (*others, f"{tracking}{self.path}/tasks")

    def update(self, resources: "Mapping[str, Any]") -> None:
        """Change limits; what resources do not name stays. Errors as ``Manager.create``."""
        if resources:
            raise UnsupportedResource(next(iter(resources)), "the limits are the container's")
