"""One group of cgroup v1: a directory in each hierarchy, on hybrid machines one of v2 as well."""

import errno
import os

from knarr.cgroups import files, processes, values
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from knarr.cgroups.files import Write
    from knarr.cgroups.protocol import Stats
    from knarr.cgroups.v1.manager import Manager

    Work = list[tuple[str, list[Write]]]

MODULES = (cpu, cpuset, memory, io, pids, hugetlb, rdma, net_cls, net_prio)
CONTROLLERS = {module.CONTROLLER: module for module in MODULES}
# The hierarchy in which an exec gets a group of its own, the first that is mounted.
TRACKING = ("freezer", "pids", "devices", "memory", "cpu")


class Plan:
    """What is to be written: ``v1`` and ``v2`` as (controller, writes), devices by themselves.

    program: descriptor of a loaded device program where devices is not a v1 hierarchy.
    """

    __slots__ = ("devices", "program", "v1", "v2")

    def __init__(self) -> None:
        self.v1: Work = []
        self.v2: Work = []
        self.devices: list[Write] = []
        self.program: int | None = None

    def close(self) -> None:
        """Close the device program."""
        if self.program is not None:
            os.close(self.program)
            self.program = None


def plan(
    resources: "Mapping[str, Any]", mounted: "Collection[str]", on_v2: "Collection[str]"
) -> Plan:
    """Return the plan for linux.resources; its ``close`` must be called.

    mounted: the controllers of v1 hierarchies; on_v2: those a hybrid machine has on v2,
    where they are set in the way of v2. Raises ValueError, and UnsupportedResource for
    a controller that is nowhere.
    """
    found = Plan()
    for name, module in CONTROLLERS.items():
        other = {"blkio": "io"}.get(name, name)
        if name in mounted or other not in on_v2:
            writes = module.plan(resources)
            if writes and name not in mounted:
                raise UnsupportedResource(writes[0][2], f"cgroup controller {name} is not mounted")
            target = found.v1
        else:
            writes = v2.CONTROLLERS[other].plan(resources)
            target, name = found.v2, other
        if writes:
            target.append((name, writes))
    if writes := unified.plan(resources, on_v2):
        found.v2.append(("unified", writes))
    if "devices" in mounted:
        found.devices = devices.plan(resources)
    else:
        found.program = v2_devices.load(resources)
    return found


class Group:
    """A group of cgroup v1 or of a hybrid machine (``protocol.Group``)."""

    __slots__ = ("_manager", "path", "paths")

    def __init__(self, path: str, paths: dict[str, str], manager: "Manager") -> None:
        self.path = path
        self.paths = paths
        self._manager = manager

    def _directories(self) -> list[str]:
        # Joined controllers (cpu,cpuacct) share a directory.
        return list(dict.fromkeys(self.paths.values()))

    def undo(self) -> "list[Any]":
        """Return the value with which ``manager.undo`` removes the group in any process."""
        return ["cgroup", 1, None, *self._directories()]

    def clone_fd(self) -> int | None:
        """Return a directory descriptor for CLONE_INTO_CGROUP, None when ``attach`` is needed."""
        return None

    def attach(self, pid: int) -> None:
        """Move a process into the group; OSError, ESRCH when it is gone."""
        self._write(str(pid), [f"{one}/cgroup.procs" for one in self._joined()])

    def enter(self) -> None:
        """Move the calling process in; it must have one thread.

        A write of a pid takes a lock over all forks and exits, and the first one after a
        while waits for an RCU grace period: milliseconds. ``0`` in ``tasks`` takes none.
        """
        self._write("0", self.entrances())

    def entrances(self) -> list[str]:
        """Return the files into which ``enter`` writes ``0``."""
        unified = self._unified()
        return [f"{one}/{'cgroup.procs' if one == unified else 'tasks'}" for one in self._joined()]

    def _joined(self) -> list[str]:
        """Return the directories that a process of this group belongs in."""
        return self._directories()

    def _unified(self) -> str | None:
        return self.paths.get("unified")

    def _write(self, text: str, names: list[str]) -> None:
        for name in names:
            try:
                files.write(name, text)
            except OSError as error:
                # A cpuset without processors or nodes says "no space". Ours inherit them
                # from a parent that we made; looking each time costs more than asking late.
                directory = os.path.dirname(name)
                if error.errno != errno.ENOSPC or directory != self.paths.get("cpuset"):
                    raise
                cpuset.inherit(self._manager.controllers["cpuset"], directory)
                files.write(name, text)

    def child(self, name: str) -> "Group":
        """Return a new group below for what one exec starts (``protocol.Group``)."""
        name = values.child_name(name)
        tracking = next(one for one in (*TRACKING, *self.paths) if one in self.paths)
        directory = f"{self.paths[tracking]}/{name}"
        os.mkdir(directory)
        return Child(f"{self.path}/{name}", {tracking: directory}, self._manager, self)

    def update(self, resources: "Mapping[str, Any]") -> None:
        """Change limits; what resources do not name stays. Errors as ``Manager.create``."""
        work = self._manager.plan(resources)
        try:
            if work.v2 or work.program is not None:
                self._join_unified()
            self._manager.carry_out(self, work, update=True)
        finally:
            work.close()

    def _join_unified(self) -> None:
        """Take the container into the v2 hierarchy, which so far nothing needed."""
        if "unified" not in self.paths:
            self._manager.add_unified(self)
            for pid in self.procs():
                try:
                    files.write(f"{self.paths['unified']}/cgroup.procs", str(pid))
                except ProcessLookupError:
                    continue

    def freeze(self) -> None:
        """Stop all processes and return when they stand still; TimeoutError if one does not."""
        if directory := self.paths.get("freezer"):
            freezer.freeze(directory)
        elif directory := self.paths.get("unified"):
            v2_freezer.freeze(directory)
        else:
            text = "no freezer hierarchy is mounted"
            raise OSError(errno.EOPNOTSUPP, text, self.path)

    def thaw(self) -> None:
        """Let all processes run again."""
        if directory := self.paths.get("freezer"):
            freezer.thaw(directory)
        elif directory := self.paths.get("unified"):
            v2_freezer.thaw(directory)

    def frozen(self) -> bool:
        """Return whether the group was frozen."""
        if directory := self.paths.get("freezer"):
            return freezer.frozen(directory)
        directory = self.paths.get("unified")
        return directory is not None and v2_freezer.frozen(directory)

    def kill(self, signal: int = processes.SIGKILL) -> None:
        """Send a signal to all processes inside; with SIGKILL return when they are gone."""
        if signal == processes.SIGKILL:
            kill(self._holding())
            return
        was_frozen = self.frozen()
        if not was_frozen:
            self._freeze_briefly()
        try:
            processes.signal_all(self.procs(), signal)
        finally:
            if not was_frozen:
                self._thaw_quietly()

    def _holding(self) -> list[str]:
        """Return the directories whose processes are this group's: the freezer's first."""
        first = self.paths.get("freezer")
        return sorted(self._directories(), key=lambda one: one != first)

    def _freeze_briefly(self) -> None:
        if directory := self.paths.get("freezer"):
            try:
                freezer.freeze(directory, timeout=0.05)
            except (TimeoutError, FileNotFoundError):
                return  # not all stand still: the caller looks at the list again

    def _thaw_quietly(self) -> None:
        try:
            self.thaw()
        except FileNotFoundError:
            return

    def procs(self) -> list[int]:
        """Return the ids of all processes inside and below."""
        return processes.procs(self._holding()[0]) if self.paths else []

    def wait_empty(self, timeout: float) -> bool:
        """Wait at most timeout seconds until no process is left; return whether so."""
        return processes.poll_empty(self._holding()[0], timeout) if self.paths else True

    def stats(self, detail: bool = False) -> "Stats":
        """Return what was used (``protocol.Group`` has the keys)."""
        paths, other = self.paths, self.paths.get("unified")
        found: Stats = {"cpu": cpu.stats(paths.get("cpu"), paths.get("cpuacct"))}
        nowhere = other or "/nonexistent"
        memory_at = paths.get("memory")
        found["memory"] = (
            memory.stats(memory_at, detail) if memory_at else v2_memory.stats(nowhere, detail)
        )
        found["io"] = io.stats(paths["blkio"]) if "blkio" in paths else v2_io.stats(nowhere)
        found["pids"] = pids.stats(paths.get("pids", nowhere))
        if found["cpu"]["total_ns"] is None and other:
            found["cpu"] = v2_cpu.stats(other)
        return found

    def oom_kills(self) -> int:
        """Return how many processes the OOM killer ended."""
        if directory := self.paths.get("memory"):
            return memory.oom_kills(directory) or 0
        return v2_memory.oom_kills(self.paths.get("unified", "/nonexistent")) or 0

    def destroy(self) -> None:
        """Kill what is left and remove the group; twice is no error."""
        destroy(self._holding())


def kill(directories: list[str]) -> None:
    """Kill all processes in the directories of one group; the freezer is found by its file.

    Each directory is emptied, as a process may be in only some of them when a start was
    broken off. Raises TimeoutError when a process does not die.
    """
    frozen = [one for one in directories if os.path.exists(f"{one}/freezer.state")]

    def freeze() -> None:
        """Stop all processes and return when they stand still; TimeoutError if one does not."""
        for one in frozen:
            try:
                freezer.freeze(one, timeout=0.05)
            except (TimeoutError, FileNotFoundError):
                continue  # not all stand still: the next round looks again

    def thaw() -> None:
        """Let all processes run again."""
        for one in frozen:
            for group in processes.tree(one):
                try:
                    freezer.thaw(group)
                except FileNotFoundError:
                    continue

    for directory in directories:
        processes.kill_until_empty(directory, freeze, thaw)


def destroy(directories: list[str]) -> None:
    """Remove the directories of one group, after killing what is left in them."""
    processes.remove(directories, lambda: kill(directories))


class Child(Group):
    """The group of one exec: its own in the tracking hierarchy, the container's in all others."""

    __slots__ = ("_parent",)

    def __init__(self, path: str, paths: dict[str, str], manager: "Manager", parent: Group) -> None:
        super().__init__(path, paths, manager)
        self._parent = parent

    def _joined(self) -> list[str]:
        (tracking,) = self.paths
        shared = self._parent.paths
        others = [one for one in dict.fromkeys(shared.values()) if one != shared[tracking]]
        return [*others, self.paths[tracking]]

    def _unified(self) -> str | None:
        return self._parent.paths.get("unified")

    def update(self, resources: "Mapping[str, Any]") -> None:
        """Change limits; what resources do not name stays. Errors as ``Manager.create``."""
        if resources:
            raise UnsupportedResource(next(iter(resources)), "the limits are the container's")
