"""One group of cgroup v2: a directory that holds all controllers."""

import errno
import os

from knarr.cgroups import files, processes, values
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
    from collections.abc import Mapping
    from typing import Any

    from knarr.cgroups.files import Write
    from knarr.cgroups.protocol import Stats

    Work = list[tuple[str, list[Write]]]

CONTROLLERS = {
    "cpu": cpu,
    "cpuset": cpuset,
    "io": io,
    "memory": memory,
    "pids": pids,
    "hugetlb": hugetlb,
    "rdma": rdma,
    "network": network,
}
# Accounting needs these even when nothing is limited (CPU time itself needs none).
ACCOUNTED = ("cpu", "io", "memory", "pids")


def plan(resources: "Mapping[str, Any]") -> "Work":
    """Return (controller, writes) for all of linux.resources but devices; ValueError if bad.

    ``unified`` comes last and so has the last word. Pure.
    """
    work = [(name, module.plan(resources)) for name, module in CONTROLLERS.items()]
    work.append(("unified", unified.plan(resources)))
    return [(name, writes) for name, writes in work if writes]


def needed(work: "Work") -> dict[str, str]:
    """Return the controllers that work needs, each with a field that asks for it."""
    found: dict[str, str] = {}
    for name, writes in work:
        names = unified.controllers(writes) if name == "unified" else [name]
        for one in names:
            found.setdefault(one, writes[0][2])
    return found


def carry_out(directory: str, work: "Work", update: bool) -> None:
    """Carry out a plan in a group's directory; raises as ``files.carry_out``."""
    for name, writes in work:
        apply = unified.apply if name == "unified" else CONTROLLERS[name].apply
        apply(directory, writes, update)


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

    def undo(self) -> "list[Any]":
        """Return the value with which ``manager.undo`` removes the group in any process."""
        return ["cgroup", 2, None, self.directory]

    def clone_fd(self) -> int | None:
        """Return a directory descriptor for CLONE_INTO_CGROUP, None when ``attach`` is needed."""
        return os.open(self.directory, os.O_PATH | os.O_DIRECTORY)

    def attach(self, pid: int) -> None:
        """Move a process into the group; OSError, ESRCH when it is gone."""
        files.write(f"{self.directory}/cgroup.procs", str(pid))

    def enter(self) -> None:
        """Move the calling process in; it must have one thread."""
        self.attach(0)

    def entrances(self) -> list[str]:
        """Return the files into which ``enter`` writes ``0``."""
        return [f"{self.directory}/cgroup.procs"]

    def child(self, name: str) -> "Group":
        """Return a new group below for what one exec starts (``protocol.Group``)."""
        name = values.child_name(name)
        directory = f"{self.directory}/{name}"
        os.mkdir(directory)
        return Group(f"{self.path}/{name}", directory)

    def update(self, resources: "Mapping[str, Any]") -> None:
        """Change limits; what resources do not name stays. Errors as ``Manager.create``."""
        resources = memory.complete(self.directory, cpu.complete(self.directory, resources))
        work, program = plan(resources), devices.load(resources)
        try:
            controllers.enable(self.directory, needed(work))
            carry_out(self.directory, work, update=True)
            if program is not None:
                devices.attach(self.directory, program)
        finally:
            if program is not None:
                os.close(program)

    def freeze(self) -> None:
        """Stop all processes and return when they stand still; TimeoutError if one does not."""
        freezer.freeze(self.directory)

    def thaw(self) -> None:
        """Let all processes run again."""
        freezer.thaw(self.directory)

    def frozen(self) -> bool:
        """Return whether the group was frozen."""
        return freezer.frozen(self.directory)

    def kill(self, signal: int = processes.SIGKILL) -> None:
        """Send a signal to all processes inside; with SIGKILL return when they are gone."""
        if not os.path.isdir(self.directory):
            return
        if signal != processes.SIGKILL:
            self._signal(signal)
            return
        try:
            # Since 5.14 the kernel kills all at once, forks under way included.
            files.write(f"{self.directory}/cgroup.kill", "1")
        except FileNotFoundError:
            processes.kill_until_empty(self.directory, self._freeze_briefly, self._thaw_quietly)
            return
        if not self.wait_empty(processes.KILL_TIMEOUT):
            text = f"processes {self.procs()[:5]} do not die after SIGKILL"
            raise TimeoutError(errno.ETIMEDOUT, text, self.directory)

    def _signal(self, signal: int) -> None:
        was_frozen = self.frozen()
        if not was_frozen:
            self._freeze_briefly()
        try:
            processes.signal_all(self.procs(), signal)
        finally:
            if not was_frozen:
                self._thaw_quietly()

    def _freeze_briefly(self) -> None:
        try:
            freezer.freeze(self.directory, timeout=0.05)
        except (TimeoutError, FileNotFoundError):
            return  # not all stand still: the caller looks at the list again

    def _thaw_quietly(self) -> None:
        try:
            self.thaw()
        except FileNotFoundError:
            return

    def procs(self) -> list[int]:
        """Return the ids of all processes inside and below."""
        return processes.procs(self.directory)

    def wait_empty(self, timeout: float) -> bool:
        """Wait at most timeout seconds until no process is left; return whether so."""
        return processes.wait_event(self.directory, "populated", 0, timeout)

    def stats(self, detail: bool = False) -> "Stats":
        """Return what was used (``protocol.Group`` has the keys)."""
        directory = self.directory
        return {
            "cpu": cpu.stats(directory),
            "memory": memory.stats(directory, detail),
            "io": io.stats(directory),
            "pids": pids.stats(directory),
        }

    def oom_kills(self) -> int:
        """Return how many processes the OOM killer ended."""
        return memory.oom_kills(self.directory) or 0

    def destroy(self) -> None:
        """Kill what is left and remove the group; twice is no error."""
        processes.remove([self.directory], self.kill)
