"""A supervisor: it watches one container, records its end and cleans up after it."""

import _socket
import os
import sys
import time

from knarr.cgroups import manager as cgroups
from knarr.kernel import process as kprocess
from knarr.supervisor import journal, restart, rundir
from knarr.supervisor import state as states
from knarr.supervisor import streams as pipes
from knarr.supervisor.handover import Handover
from knarr.supervisor.oom import OomWatch
from knarr.supervisor.outlet import open_log, open_outlet
from knarr.supervisor.relay import Relay
from knarr.supervisor.undo import Undo, crash_point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NO_MANAGER = "none"
_LOST = "the exit status was lost with the supervisor that was killed"


class Supervisor:
    """One container's supervisor, in the process that was forked for it.

    It keeps little: what the container is stands in ``state.json``, and goes from there
    into the record of its end. manager, group: of its cgroup. exit_file: where its end is
    recorded durably, or empty. root_fd: the root file system's mount, whose last
    reference writes the upper file system back, so it is let go of only after
    the exit was told. ours: the container is our child, so that its exit
    status can be waited for. ports: what keeps the host's for it, or -1.
    """

    __slots__ = (
        "again",
        "exit_file",
        "group",
        "manager",
        "ours",
        "pid",
        "pidfd",
        "ports",
        "relay",
        "root_fd",
        "run_dir",
    )

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self.again: restart.Again | None = None
        self.manager = _NO_MANAGER
        self.group = self.exit_file = ""
        self.relay: Relay | None = None
        self.ours = True
        self.pid = self.pidfd = self.root_fd = self.ports = -1

    def take(self, given: Handover, maker: int) -> None:
        """Get ready for a container that is about to run, with the client of its first byte.

        maker: pid of the process that makes it, our child, or 0.
        """
        streams = pipes.Streams()
        streams.out, streams.err, streams.stdin = given.out, given.err, given.stdin
        self.pid, self.pidfd, self.ports = given.pid, given.pidfd, given.ports
        self.manager, self.group, self.exit_file = given.manager, given.cgroup, given.exit_file
        listener = _socket.socket(fileno=given.listener)
        config = None
        if given.configured:
            # What is there by name may still be of its last run.
            state = states.unpublished(self.run_dir) or states.read(self.run_dir)
            config = (state or {}).get("log_config")
        self._watch(streams, listener, given.log, config, terminal=given.terminal, maker=maker)
        if given.client >= 0 and self.relay is not None:
            self.relay.add_client(_socket.socket(fileno=given.client), owner=given.owner)

    def begin(self, given: Handover, root_fd: int) -> None:
        """Note that the container runs. root_fd: the mount of its root file system."""
        self.root_fd = root_fd
        if given.checked:
            self._check_health(fresh=True)
        if given.oom >= 0 and self.relay is not None:
            watch = OomWatch(self.run_dir, given.oom, self.manager, self.group, fresh=True)
            self.relay.tell_kills(watch)
        for keeper in (given.keeper, given.spare):
            if keeper:
                os.waitpid(keeper, 0)
        if self.relay is not None and self.relay.clients:
            self._rehearse_end()

    def let_go(self, given: Handover) -> None:
        """Close all that was taken of a container that its maker did not see run."""
        if self.relay is not None:
            self.relay.close()
        for fd in (self.pidfd, given.oom, given.ports):
            if fd >= 0:
                os.close(fd)

    def adopt(self, *, ours: bool = False) -> bool:
        """Take over from a dead process; False when the container has ended meanwhile.

        ours: the container is our child, since only the process that made it died.
        """
        state = states.read(self.run_dir) or states.settled(self.run_dir)
        if state is None or not states.alive(state):
            return False
        self.ours = ours
        self.pid = state["pid"]
        self.pidfd = kprocess.pidfd_open(self.pid)
        if not states.alive(state):
            os.close(self.pidfd)
            return False
        self.manager, self.group = state["cgroup"]["manager"], state["cgroup"]["path"]
        self.exit_file = state["exit_file"] or ""
        streams = pipes.Streams() if state["tty"] else pipes.reopen_pipes(self.run_dir, self.pid)
        listener = rundir.listen(self.run_dir)
        # Who reads of a new supervisor may connect to it.
        states.write(self.run_dir, {**state, "supervisor_pid": os.getpid()})
        log, config = state["log"] or "", state.get("log_config")
        self._watch(streams, listener, log, config, terminal=bool(state["tty"]))
        if "health" in state:
            self._check_health(fresh=False)
        if "oom" in state:
            self.watch_memory()
        if "ports" in state:
            self._keep_ports(state["ports"]["bindings"])
        if "runtime" in state:
            self.drive(state)
        return True

    def _watch(
        self,
        streams: pipes.Streams,
        listener: "_socket.socket",
        log: str,
        config: "dict[str, Any] | None",
        *,
        terminal: bool,
        maker: int = 0,
    ) -> None:
        hello = f'{{"tty":{"true" if terminal else "false"},"pid":{self.pid},"status":"%s"}}'
        writer = open_log(log, config)
        self.relay = Relay(
            streams,
            self.pidfd,
            listener,
            writer,
            hello,
            self,
            terminal=terminal,
            maker=maker,
            outlet=open_outlet(writer, config),
        )

    def _keep_ports(self, bindings: "list[dict[str, Any]]") -> None:
        """Keep the host's ports for the container as who was killed did."""
        from knarr.runtime import hostports

        try:
            self.ports, lost = hostports.keep_again(bindings)
        except OSError as error:
            lost = [str(error)]
        for each in lost:  # it is led to the container all the same
            print(f"knarr: {self.run_dir}: a port is not kept: {each}", file=sys.stderr)

    def _check_health(self, *, fresh: bool) -> None:
        """Have the container checked as long as it runs. fresh: it was started now."""
        from knarr.supervisor import health

        assert self.relay is not None
        try:
            self.relay.check_with(health.Monitor(self.run_dir, fresh=fresh))
        except (OSError, ValueError) as error:
            # It is watched all the same.
            print(f"knarr: {self.run_dir}: no health checks: {error}", file=sys.stderr)

    def watch_memory(self) -> None:
        """Have out-of-memory kills told when they happen from now on.

        For a limit that came later, or as who was here before us had it.
        """
        from knarr.cgroups import oom

        assert self.relay is not None
        try:
            fd = oom.watch(cgroups.detect(self.manager).open(self.group))
        except OSError:
            return  # its group is gone with its last process
        if fd >= 0:
            watch = OomWatch(self.run_dir, fd, self.manager, self.group, fresh=False)
            self.relay.tell_kills(watch)
            state = states.read(self.run_dir)
            if state is not None and "oom" not in state:  # for whoever takes over from us
                states.write(self.run_dir, {**state, "oom": True})

    def drive(self, state: "dict[str, Any]") -> None:
        """Have signals go by the runtime that made the container."""
        from knarr.runtime.foreign import Foreign

        assert self.relay is not None
        self.relay.drive(Foreign(state["runtime"], self.run_dir, state["id"]))

    def thaw(self) -> None:
        """Have a paused container go on: with cgroup v1 nothing that is frozen dies."""
        if self.manager != _NO_MANAGER and os.access(f"{self.run_dir}/paused", os.F_OK):
            try:
                cgroups.detect(self.manager).open(self.group).thaw()
            except OSError:
                return  # its group is gone with its last process

    def watch(self) -> "list[str] | None":
        """Serve the container until it has ended and everybody knows.

        Returns the command that the process has to become (the clean-up of a
        container that nobody else removes, or its next start), or None.
        """
        assert self.relay is not None
        self.relay.run()
        if self.relay.health is not None:
            self.relay.health.close()
            self.relay.health = None
        if self.relay.oom is not None:
            self.relay.oom.close()
        if self.relay.foreign is not None:
            self.relay.foreign.close()
        if self.ports >= 0:
            self._free_ports()
        code, error = self._exit_code()
        self.relay.finish(self._record_exit(code, error))
        acknowledged = self.relay.settle(acknowledge=False)
        self.relay.dismiss()
        on_exit = (states.read(self.run_dir) or {}).get("on_exit")
        self._clean_up()
        if on_exit and not acknowledged:
            acknowledged = self.relay.settle(acknowledge=True)
        self.relay.close()
        if on_exit and acknowledged:
            rundir.remove(self.run_dir)
        if self.again is not None:
            return self._await_start(self.again)
        return None if acknowledged else on_exit

    def _free_ports(self) -> None:
        """Let go of the host's ports before anybody hears of the end, and wants them."""
        undo = Undo(self.run_dir)
        undo.load()
        undo.run("ports")
        undo.close()
        os.close(self.ports)

    @staticmethod
    def _await_start(again: restart.Again) -> "list[str]":
        """Sleep until the container is to be started again; whoever stops it kills us."""
        time.sleep(again.seconds)
        return again.command

    def _exit_code(self) -> "tuple[int, str]":
        """Return the exit code as shells have it, and what is known to be wrong with it."""
        if self.ours:
            status = os.waitpid(self.pid, 0)[1]
        else:
            told = kprocess.pidfd_exit_status(self.pidfd)
            if told is None:
                return 255, _LOST
            status = told
        return (128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)), ""

    def _record_exit(self, code: int, error: str) -> bytes:
        """Write down how it ended; return that as it was written."""
        assert self.relay is not None
        start = states.read_body(self.run_dir)
        usage, oom_killed = self._account()
        if self.relay.log_errors:
            error = f"the log lacks {self.relay.log_errors} chunks of output: its disk was full"
        elif self.relay.outlet is not None and self.relay.outlet.dropped:
            error = f"the log driver lost {self.relay.outlet.dropped} lines"
        again = restart.due(self.exit_file, start, code, time.time_ns())
        body = states.ended(
            start, code=code, oom_killed=oom_killed, error=error, usage=usage, again=again
        )
        crash_point("exited")
        self._tell(start, code, oom_killed=oom_killed)
        try:
            if self.exit_file:
                directory, name = os.path.split(self.exit_file)
                states.replace(directory, body, name)
            states.replace(self.run_dir, body)
            self.again = again
        except OSError as failure:
            # The directory may be gone (forced removal) or the disk full: the clients
            # still hear how it ended.
            error = error or f"the exit could not be recorded: {failure}"
            body = states.ended(start, code=code, oom_killed=oom_killed, error=error, usage=usage)
        crash_point("recorded")
        return body

    def _rehearse_end(self) -> None:
        """Go through the record of an end while the container begins.

        Most of what that takes is pages to be copied at a first look, for which whoever is
        attached would wait. Half of them are given back when there is nothing to do.
        """
        start = states.read_body(self.run_dir)
        try:
            usage, oom_killed = self._account()
        except OSError:
            return  # it has ended, and its group may be gone
        states.ended(start, code=0, oom_killed=oom_killed, error="", usage=usage)

    def _tell(self, start: bytes, code: int, *, oom_killed: bool) -> None:
        """Have the end in the journal, before anybody can do what follows from it."""
        told = self.relay is not None and self.relay.oom is not None and self.relay.oom.told
        if oom_killed and not told:
            journal.note(self.run_dir, b"oom")
        seconds = max(0, time.time_ns() - states.started_at(start)) // 1_000_000_000
        more = b',"execDuration":"%d","exitCode":"%d"' % (seconds, code)
        journal.note(self.run_dir, b"die", more)

    def _account(self) -> "tuple[dict[str, int | None], bool]":
        """Return what its group used (names of ``model.Usage``), whether the OOM killer struck."""
        if self.manager == _NO_MANAGER:
            return {}, False
        usage = cgroups.detect(self.manager).usage(self.group)
        kills = usage.pop("memory_oom_kills")
        if kills is None and self.relay is not None and self.relay.oom is not None:
            # systemd removes a group as soon as it is empty; what was seen before counts.
            kills = self.relay.oom.kills
        return usage, bool(kills)

    def _clean_up(self) -> None:
        for fd in (self.root_fd, self.pidfd):
            if fd >= 0:
                os.close(fd)
        undo = Undo(self.run_dir)
        undo.load()
        undo.run()
        undo.close()
