"""What the process behind one ``exec`` does: start the command, pass signals, tell its end."""

import os
import resource
import select

from knarr.cgroups import manager as cgroups
from knarr.kernel import process as kprocess
from knarr.kernel import tty
from knarr.runtime.join import Join, create
from knarr.runtime.plan import exec_steps, final_leg
from knarr.supervisor import state as states
from knarr.supervisor.starter import read_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.cgroups.protocol import Group
    from knarr.runtime.channel import Channel
    from knarr.runtime.process import Created


class NotRunning(Exception):
    """The container has no process that could be joined."""


class Exec:
    """One command in a running container; a group of its own lets all of it be killed."""

    __slots__ = ("created", "group", "group_dirs")

    def __init__(self) -> None:
        self.group: Group | None = None
        self.created: Created | None = None

    def start(self, request: "dict[str, Any]", fds: "list[int]") -> "Created":
        """Start the command; raises NotRunning, RuntimeFailure, OSError."""
        state = states.read(request["run_dir"])
        if state is None or state["status"] != states.RUNNING:
            raise NotRunning
        try:
            pidfd = kprocess.pidfd_open(state["pid"])
        except ProcessLookupError:
            raise NotRunning from None
        if not states.alive(state):
            raise NotRunning
        process = request["process"]
        indexes = request.get("fds")
        program = read_program(request, fds)
        procs = self._groups(state, request["exec_id"])
        leg = final_leg(process, {})
        stdio = None if indexes is None else (fds[indexes[0]], fds[indexes[1]], fds[indexes[2]])
        join = Join(pidfd, state["namespaces"], procs, leg, exec_steps(process), stdio, program)
        try:
            self.created = create(join)
            self.created.start()
        except BaseException:
            if self.created is not None and self.created.pidfd >= 0:
                self.created.abort()
            self._remove_group()
            raise
        for fd in (*procs, *fds):
            os.close(fd)
        return self.created

    def _groups(self, state: "dict[str, Any]", name: str) -> "list[int]":
        """Return the open ``cgroup.procs`` files of all groups that the command has to be in."""
        where = state["cgroup"]
        if where["manager"] == "none":
            return []
        container = cgroups.detect(where["manager"]).open(where["path"])
        self.group = container.child(name)
        flags = os.O_WRONLY | os.O_CLOEXEC
        # The exec's own group exists in one hierarchy; everywhere else it is the container's.
        directories = dict.fromkeys({**container.paths, **self.group.paths}.values())
        return [os.open(f"{directory}/cgroup.procs", flags) for directory in directories]

    def _remove_group(self) -> None:
        """Remove the exec's group unless something it started lives on in the background."""
        try:
            if self.group is not None and not self.group.procs():
                self.group.destroy()
        except OSError:
            # The container's end removes its groups with all below them.
            self.group = None

    def watch(self, channel: "Channel") -> None:
        """Wait for the end, doing what the caller asks meanwhile; tell it the exit."""
        created = self.created
        assert created is not None
        epoll = select.epoll()
        epoll.register(created.pidfd, select.EPOLLIN)
        epoll.register(channel.fileno(), select.EPOLLIN)
        ended = False
        while not ended:
            for fd, _ in epoll.poll():
                if fd == created.pidfd:
                    ended = True
                elif not self._request(channel, created):
                    epoll.unregister(channel.fileno())
        _, status, used = os.wait4(created.pid, 0)
        self._remove_group()
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        # Until execve the command was a copy of this process, and its peak counts that: a
        # smaller peak of the command itself cannot be told apart.
        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        usage = {
            "cpu_user": int(used.ru_utime * 1e9),
            "cpu_system": int(used.ru_stime * 1e9),
            "cpu_total": int((used.ru_utime + used.ru_stime) * 1e9),
            "memory_peak": used.ru_maxrss * 1024 if used.ru_maxrss > ours else None,
            "io_read_ops": used.ru_inblock,
            "io_write_ops": used.ru_oublock,
        }
        try:
            channel.send({"exit_code": code, "usage": usage})
        except OSError:
            # The caller has gone; there is nobody to tell.
            return

    def _request(self, channel: "Channel", created: "Created") -> bool:
        """Do one thing the caller asks; False when it has gone."""
        try:
            message, _ = channel.receive()
        except (EOFError, OSError):
            return False
        try:
            if "signal" in message:
                kprocess.pidfd_send_signal(created.pidfd, int(message["signal"]))
            elif "resize" in message and created.master >= 0:
                rows, columns = message["resize"]
                tty.set_size(created.master, rows, columns)
            elif "kill" in message:
                self._kill(created)
        except ProcessLookupError:
            return True
        return True

    def _kill(self, created: "Created") -> None:
        """Kill the command and everything it started."""
        kprocess.pidfd_send_signal(created.pidfd, 9)
        if self.group is not None:
            self.group.kill()
