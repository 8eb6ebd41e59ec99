"""What another runtime has started, looked at before it is believed."""

import os
import select

from knarr.kernel import process as kprocess
from knarr.runtime.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.runtime.foreign import Foreign

_DIGITS = 10
_PARENT, _SESSION = 1, 3  # in stat after the name (proc(5))


def open_started(
    runtime: "Foreign", path: str, parent: int, members: "Callable[[], list[int]]"
) -> "tuple[int, int]":
    """Return pid and pidfd of the process that a pid file names. Raises RuntimeFailure.

    parent: whose child it has to be by now, so that its end can be waited for. members: returns
    the processes in the container's group, of which it has to be one.
    """
    pid = _read_pid(path)
    try:
        pidfd = kprocess.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        pidfd = -1
    if pidfd < 0:
        raise _lie(runtime, "it wrote no pid of a process that runs")
    # Looked at with the descriptor open: it is that process's.
    if _stat(pid, _PARENT) != parent:
        os.close(pidfd)
        raise _lie(
            runtime,
            f"process {pid}, which it says is the container's, is not ours to wait for "
            "(runtimes that keep it below a process of their own are not supported)",
        )
    if pid not in members() and not select.select([pidfd], [], [], 0)[0]:  # nor ended already
        os.close(pidfd)
        raise _lie(runtime, f"its process {pid} is not in the container's control group")
    return pid, pidfd


def _lie(runtime: "Foreign", what: str) -> RuntimeFailure:
    return RuntimeFailure("error", "runtime", f"OCI runtime {runtime.name}: {what}")


def _read_pid(path: str) -> int:
    """Return what is in a pid file, 0 when that is no pid."""
    try:
        with open(path, "rb") as file:
            text = file.read(_DIGITS + 2).strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() and len(text) <= _DIGITS else 0


def _stat(pid: int, field: int) -> int:
    """Return a field of a process's stat, counted after its name; -1 when it has ended."""
    try:
        return int(kprocess.stat_fields(pid)[field])
    except (OSError, IndexError):
        return -1


class Tree:
    """A command in a container with all that it started, as far as that can be told.

    That is whoever is in its session, or descends from it; who left the one and has lost the
    other goes with the container. pid: the command's. members: returns the container's pids.
    """

    __slots__ = ("_members", "_pid", "_session")

    def __init__(self, pid: int, members: "Callable[[], list[int]]") -> None:
        self._pid = pid
        self._session = max(_stat(pid, _SESSION), pid)
        self._members = members

    def kill(self) -> None:
        """Kill them all, also those that are started meanwhile."""
        done: set[int] = set()
        while found := self._found() - done:
            opened = {pid: _open(pid) for pid in found}
            # Looked at again with the descriptors open: those are still the container's.
            still = set(self._members())
            for pid, fd in opened.items():
                if fd >= 0:
                    if pid in still:
                        kprocess.pidfd_send_signal(fd, 9)
                    os.close(fd)
            done |= found

    def _found(self) -> "set[int]":
        parents = {pid: _stat(pid, _PARENT) for pid in self._members()}
        found = {pid for pid in parents if _stat(pid, _SESSION) == self._session}
        found |= {self._pid} & set(parents)
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found


def _open(pid: int) -> int:
    try:
        return kprocess.pidfd_open(pid)
    except ProcessLookupError:
        return -1
