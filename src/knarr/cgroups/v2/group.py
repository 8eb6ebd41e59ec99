"""One group of cgroup v2: a directory that holds all controllers."""

import errno
import os

from knarr.cgroups import accounting, files, processes, undo, values
from knarr.cgroups.v2 import (
    controllers,
    cpu,
    cpuset,
    devices,
    freezer,
    hugetlb,
    io,
    memory,
    network,
    pids,
    rdma,
    unified,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from knarr.cgroups.files import Plan, Work
    from knarr.cgroups.protocol import Controller, Stats, Usage

SECTIONS: "dict[str, tuple[Controller, ...]]" = {
    "cpu": (cpu, cpuset),
    "blockIO": (io,),
    "memory": (memory,),
    "pids": (pids,),
    "hugepageLimits": (hugetlb,),
    "rdma": (rdma,),
    "network": (network,),
}
CONTROLLERS = {one.CONTROLLER: one for modules in SECTIONS.values() for one in modules}
CONTROLLERS["unified"] = unified
# A path is the group's directory.
ACCOUNTS = accounting.accounts("", (*cpu.FIGURES, *memory.FIGURES, *io.FIGURES, *pids.FIGURES))


def plan(resources: "Mapping[str, Any]") -> "Work":
    """Return (controller, writes) for all of linux.resources but devices; ValueError if bad.

    ``unified`` comes last and so has the last word.
    """
    work = []
    for section in resources:
        for one in SECTIONS.get(section, ()):
            if writes := one.plan(resources):
                work.append((one.CONTROLLER, writes))
    if writes := unified.plan(resources):
        work.append(("unified", writes))
    return work


def whole_plan(resources: "Mapping[str, Any]", held: int | None = None) -> "Plan":
    """Return the plan with the device program. Raises as ``plan`` and ``devices.load``."""
    return [], plan(resources), devices.load(resources, held)


def needed(work: "Work") -> dict[str, str]:
    """Return the controllers that work needs, each with a field that asks for it."""
    found: dict[str, str] = {}
    for name, writes in work:
        names = unified.controllers(writes) if name == "unified" else [name]
        for one in names:
            found.setdefault(one, writes[0][2])
    return found


def carry_out(directory: str, work: "Plan", update: bool, wanted: "Iterable[str]" = ()) -> None:
    """Carry out the v2 part of a plan in a group's directory.

    wanted: controllers to hand down even if nothing is set in them. Raises as
    ``controllers.enable`` and ``files.carry_out``; an update that is refused changes nothing.
    """
    _, writes, program = work
    controllers.enable(directory, needed(writes), wanted)
    former = undo.Former() if update else None
    try:
        for name, part in writes:
            if former is not None:
                former.keep(CONTROLLERS[name], directory, part)
            CONTROLLERS[name].apply(directory, part, update)
        if program is not None:
            devices.attach(directory, program, replace=update)
    except BaseException as error:
        undo.settle(former, error)
        raise


class Group:
    """A group of cgroup v2 (``protocol.Group``); directory is its place in the file system."""

    __slots__ = ("directory", "path")

    def __init__(self, path: str, directory: str) -> None:
        self.path = path
        self.directory = directory

    @property
    def paths(self) -> dict[str, str]:
        """Return the directory of each controller (``protocol.Group``)."""
        return {"unified": self.directory}

    def clone_fd(self) -> int | None:
        """Return a directory descriptor for CLONE_INTO_CGROUP, None on v1."""
        return os.open(self.directory, os.O_PATH | os.O_DIRECTORY)

    def attach(self, pid: int) -> None:
        """Move a process into the group; OSError, ESRCH when it is gone."""
        files.write(f"{self.directory}/cgroup.procs", str(pid))

    def entrances(self) -> tuple[str, ...]:
        """Return the one file into which a process writes ``0`` to move itself in."""
        return (f"{self.directory}/cgroup.procs",)

    def child(self, name: str, *, made: bool = False) -> "Group":
        """Return a new group below for what one exec starts (``protocol.Group``)."""
        name = values.child_name(name)
        directory = f"{self.directory}/{name}"
        if not made:
            os.mkdir(directory)
        return Group(f"{self.path}/{name}", directory)

    def update(self, resources: "Mapping[str, Any]") -> None:
        """Change limits; what resources do not name stays. Errors as ``Manager.create``."""
        resources = memory.complete(self.directory, cpu.complete(self.directory, resources))
        work = whole_plan(resources)
        try:
            carry_out(self.directory, work, update=True)
        finally:
            if work[2] is not None:
                os.close(work[2])

    def freeze(self) -> None:
        """Stop all processes and return when they stand still; TimeoutError if one does not."""
        freezer.freeze(self.directory)

    def thaw(self) -> None:
        """Let all processes run again."""
        freezer.thaw(self.directory)

    def frozen(self) -> bool:
        """Return whether the group was frozen."""
        return freezer.frozen(self.directory)

    def freezing(self) -> str:
        """Return the file that has 1 while it is frozen (``protocol.Group``)."""
        return f"{self.directory}/{freezer.FROZEN}"

    def kill(self, signal: int = processes.SIGKILL) -> None:
        """Send a signal to all processes inside; with SIGKILL return when they are gone."""
        if not os.path.isdir(self.directory):
            return
        if signal != processes.SIGKILL:
            processes.signal_group(freezer, self.directory, signal)
            return
        try:
            # Since 5.14 the kernel kills all at once, forks under way included.
            files.write(f"{self.directory}/cgroup.kill", "1")
        except OSError as error:
            if error.errno not in processes.GONE:
                raise
            processes.kill_until_empty(self.directory, freezer, [self.directory])
            return
        if not self.wait_empty(processes.KILL_TIMEOUT):
            text = f"processes {self.procs()[:5]} do not die after SIGKILL"
            raise TimeoutError(errno.ETIMEDOUT, text, self.directory)

    def procs(self) -> list[int]:
        """Return the ids of all processes inside and below."""
        return processes.procs(self.directory)

    def wait_empty(self, timeout: float) -> bool:
        """Wait at most timeout seconds until no process is left; return whether so."""
        return processes.wait_event(self.directory, "populated", 0, timeout)

    def usage(self) -> "Usage":
        """Return what was used in all (``protocol.Group`` has the keys)."""
        return accounting.usage(ACCOUNTS, self.directory)

    def stats(self, detail: bool = False) -> "Stats":
        """Return what was used (``protocol.Group`` has the keys)."""
        at = self.directory
        return accounting.stats(self.usage(), cpu.more(at), memory.more(at, detail), pids.more(at))

    def oom_kills(self) -> int:
        """Return how many processes the OOM killer ended."""
        return memory.oom_kills(self.directory) or 0

    def destroy(self) -> None:
        """Kill what is left and remove the group; twice is no error."""
        processes.remove([self.directory], self.kill)
