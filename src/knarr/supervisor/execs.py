"""What the process behind one ``exec`` does: start the command, pass signals, tell its end."""

import os
import resource
import select

from knarr.cgroups import manager as cgroups
from knarr.kernel import process as kprocess
from knarr.kernel import tty
from knarr.runtime.channel import Channel
from knarr.runtime.join import Join, start
from knarr.runtime.processplan import exec_steps, final_leg
from knarr.runtime.steps.base import Circumstances
from knarr.supervisor import journal, lessons, rundir
from knarr.supervisor import state as states
from knarr.supervisor.starter import read_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.cgroups.protocol import Group
    from knarr.supervisor.foreign.process import Tree

_MARGIN = 8192  # KiB that a fork may add to its parent's peak
_SECTOR = 512  # bytes: Linux counts in ru_inblock and ru_oublock neither blocks nor operations


class NotRunning(Exception):
    """The container has no process that could be joined."""


class Exec:
    """One command in a running container; a group of its own lets all of it be killed.

    pid, pidfd: of the command, which is our child. master: of its terminal, or -1.
    """

    __slots__ = ("group", "master", "name", "pid", "pidfd", "run_dir", "tree")

    def __init__(self) -> None:
        self.run_dir = self.name = ""
        self.group: Group | None = None
        self.tree: Tree | None = None  # in place of a group, where another runtime started it
        self.pid = self.pidfd = self.master = -1

    def start(self, request: "dict[str, Any]", fds: "list[int]") -> None:
        """Start the command; raises NotRunning, RuntimeFailure, SpecError, OSError."""
        self.run_dir, self.name = request["run_dir"], request["exec_id"]
        state, target = _running(self.run_dir)
        if "runtime" in state:
            os.close(target)
            self._start_foreign(state, request, fds)
            return
        linux = request.get("linux") or {}
        leg = final_leg(request["process"], linux)
        steps = exec_steps(request["process"])
        procs = self._groups(state, request["exec_id"])
        indexes = request.get("fds")
        stdio = None if indexes is None else (fds[indexes[0]], fds[indexes[1]], fds[indexes[2]])
        program = read_program(request, fds)
        lessons.begin()
        join = Join(target, state["namespaces"], procs, leg, steps, stdio, program)
        try:
            command = start(join)
        except BaseException:
            self._remove_group()
            raise
        self.pid, self.pidfd, self.master = command.pid, command.pidfd, command.master
        for fd in (target, *procs, *fds):
            os.close(fd)
        seen = Circumstances(stdio, filtered=program is not None)
        namespaces = state["namespaces"]
        lessons.teach(seen, process=request["process"], linux=linux, flags=namespaces)

    def _start_foreign(
        self, state: "dict[str, Any]", request: "dict[str, Any]", fds: "list[int]"
    ) -> None:
        """Have the runtime that made the container start the command."""
        from knarr.supervisor.foreign import exec as foreign

        started = foreign.start(state, request, fds)
        self.pid, self.pidfd, self.master = started.pid, started.pidfd, started.master
        self.tree = started.tree
        for fd in fds:
            os.close(fd)

    def _groups(self, state: "dict[str, Any]", name: str) -> "list[int]":
        """Return open control files of all groups that the command enters by writing ``0``."""
        where = state["cgroup"]
        if where["manager"] == "none":
            return []
        self.group = cgroups.detect(where["manager"]).open(where["path"]).child(name)
        flags = os.O_WRONLY | os.O_CLOEXEC
        return [os.open(entrance, flags) for entrance in self.group.entrances()]

    def _remove_group(self) -> None:
        """Remove the exec's group unless something it started lives on in the background."""
        try:
            if self.group is not None and not self.group.procs():
                self.group.destroy()
        except OSError:
            # The container's end removes its groups with all below them.
            self.group = None

    def watch(self, channel: Channel) -> None:
        """Wait for the end, doing what the caller asks meanwhile; tell it the exit."""
        epoll = select.epoll()
        epoll.register(self.pidfd, select.EPOLLIN)
        epoll.register(channel.fileno(), select.EPOLLIN)
        ended = False
        while not ended:
            for fd, _ in epoll.poll():
                if fd == self.pidfd:
                    ended = True
                elif not self._request(channel):
                    epoll.unregister(channel.fileno())
        code, used = self.finish()
        # The group is no accountant: on v2 the container's own processes beside it forbid
        # controllers in it, and on v1 it exists in one hierarchy only. Until execve the command
        # shared this process's memory, and its peak counts that: a smaller peak of the command
        # itself cannot be told apart.
        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        usage = {
            "cpu_user": int(used.ru_utime * 1e9),
            "cpu_system": int(used.ru_stime * 1e9),
            "cpu_total": int((used.ru_utime + used.ru_stime) * 1e9),
            "memory_peak": used.ru_maxrss * 1024 if used.ru_maxrss > ours + _MARGIN else None,
            "io_read_bytes": used.ru_inblock * _SECTOR,
            "io_write_bytes": used.ru_oublock * _SECTOR,
        }
        try:
            channel.send({"exit_code": code, "usage": usage})
        except OSError:
            pass  # the caller has gone; there is nobody to tell
        self.close()

    def close(self) -> None:
        """Remove its group, which nobody has to wait for."""
        self._remove_group()

    def finish(self) -> "tuple[int, resource.struct_rusage]":
        """Wait for the end and note it; return the exit code and what was used."""
        _, status, used = os.wait4(self.pid, 0)
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if self.tree is not None:
            rundir.remove_file(self.run_dir, f"{self.name}.pid")
        more = b',"execID":"%s","exitCode":"%d"' % (self.name.encode(), code)
        journal.note(self.run_dir, b"exec_die", more)
        return code, used

    def _request(self, channel: Channel) -> bool:
        """Do one thing the caller asks; False when it has gone."""
        try:
            message, _ = channel.receive()
        except (EOFError, OSError, ValueError):
            return False
        try:
            if "signal" in message:
                kprocess.pidfd_send_signal(self.pidfd, int(message["signal"]))
            elif "resize" in message and self.master >= 0:
                rows, columns = message["resize"]
                tty.set_size(self.master, rows, columns)
            elif "kill" in message:
                self.kill()
        except (OSError, ValueError, TypeError, OverflowError):
            # It has ended, or the caller asks for nonsense: neither is the command's business.
            return True
        return True

    def kill(self) -> None:
        """Kill the command and everything it started."""
        if self.tree is not None:
            self.tree.kill()
        kprocess.pidfd_send_signal(self.pidfd, 9)
        if self.group is not None:
            self.group.kill()


def _running(run_dir: str) -> "tuple[dict[str, Any], int]":
    """Return a container's state and a descriptor of its first process. Raises NotRunning."""
    state = states.read(run_dir)
    if state is None or state["status"] != states.RUNNING:
        raise NotRunning
    try:
        pidfd = kprocess.pidfd_open(state["pid"])
    except ProcessLookupError:
        raise NotRunning from None
    if not states.alive(state):
        raise NotRunning
    return state, pidfd


def reap_all() -> None:
    """Wait for the end of every child of this process, as of a command that failed to start."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return
