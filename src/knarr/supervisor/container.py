"""What a supervisor does: make the container, watch it, record its end, clean up."""

import _socket
import os
import time

from knarr.cgroups import manager as cgroups
from knarr.kernel import process as kprocess
from knarr.kernel.namespaces import NAMESPACES
from knarr.kernel.seccomp import FilterProgram
from knarr.runtime.plan import plan
from knarr.runtime.process import Created, Recipe, create
from knarr.spec.mount import Mount
from knarr.supervisor import rundir
from knarr.supervisor import state as states
from knarr.supervisor import streams as pipes
from knarr.supervisor.log import LogWriter
from knarr.supervisor.relay import Relay
from knarr.supervisor.undo import Undo, crash_point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.cgroups.protocol import Group

PROGRAM_LIMIT = 1 << 20
_LOST = "the exit status was lost with the supervisor that was killed"


class Supervisor:
    """One container's supervisor, in the process that was forked for it.

    state: what ``state.json`` says. ours: whether the container is our child,
    so that its exit status can be waited for. root_fd: keeps the root file
    system's mount until the exit was told.
    """

    __slots__ = ("group", "lock", "ours", "pidfd", "relay", "root_fd", "run_dir", "state", "undo")

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self.lock = rundir.lock(run_dir)
        self.undo = Undo(run_dir)
        self.state: dict[str, Any] = {}
        self.group: Group | None = None
        self.relay: Relay | None = None
        self.ours = True
        self.pidfd = self.root_fd = -1

    def start(self, request: "dict[str, Any]", fds: "list[int]") -> "list[str]":
        """Make the container and let it run; return warnings. What fails is undone and raised."""
        created = None
        streams = pipes.Streams()
        try:
            self._make_group(request)
            streams = self._make_streams(request)
            created = create(self._recipe(request, fds, streams))
            self._record(request, created)
            self._make_relay(request, fds, created, streams)
            pipes.give_to(streams, created.uid, created.gid)
            created.start()
        except BaseException:
            self._give_up(created, streams)
            raise
        streams.close_child()
        return created.warnings

    def adopt(self) -> bool:
        """Take over from a dead supervisor; False when the container has ended meanwhile."""
        state = states.read(self.run_dir)
        if state is None or not states.alive(state):
            return False
        self.state = {**state, "supervisor_pid": os.getpid()}
        self.ours = False
        self.pidfd = kprocess.pidfd_open(state["pid"])
        if not states.alive(state):
            return False
        self.undo.load()
        if state["cgroup"]["manager"] != "none":
            self.group = cgroups.detect(state["cgroup"]["manager"]).open(state["cgroup"]["path"])
        states.write(self.run_dir, self.state)
        streams = pipes.Streams() if state["tty"] else pipes.reopen_pipes(self.run_dir)
        self.relay = self._relay(streams, state)
        return True

    def _make_group(self, request: "dict[str, Any]") -> None:
        wanted = request["cgroup"]
        if wanted["manager"] == "none":
            return
        self.undo.add("cgroup", wanted)
        resources = (request["spec"].get("linux") or {}).get("resources") or {}
        self.group = cgroups.detect(wanted["manager"]).create(wanted["path"], resources)

    def _make_streams(self, request: "dict[str, Any]") -> pipes.Streams:
        if request["tty"]:
            return pipes.Streams()
        for name in pipes.NAMES:
            self.undo.add("file", f"{self.run_dir}/{name}")
        return pipes.make_pipes(self.run_dir, stdin=bool(request["stdin"]))

    def _recipe(
        self, request: "dict[str, Any]", fds: "list[int]", streams: pipes.Streams
    ) -> Recipe:
        init = request.get("init")
        return Recipe(
            plan(request["spec"]),
            [Mount.from_dict(mount) for mount in request["rootfs"]],
            self.run_dir,
            mount_fds={int(k): fds[v] for k, v in (request.get("mount_fds") or {}).items()},
            stdio=streams.child,
            program=read_program(request, fds),
            group=self.group,
            init_fd=None if init is None else fds[init],
        )

    def _record(self, request: "dict[str, Any]", created: Created) -> None:
        """Write the state while the process waits at the gate: it never runs unrecorded."""
        self.pidfd, self.root_fd = created.pidfd, created.root_fd
        self.state = {
            "id": request["id"],
            "status": states.RUNNING,
            "pid": created.pid,
            "start_time": states.start_time(created.pid),
            "boot_id": states.boot_id(),
            "supervisor_pid": os.getpid(),
            "started_at": time.time_ns(),
            "tty": bool(request["tty"]),
            "namespaces": namespace_flags(request["spec"]),
            "cgroup": request["cgroup"],
            "log": request.get("log"),
            "exit_file": request.get("exit_file"),
            "on_exit": request.get("on_exit"),
        }
        states.write(self.run_dir, self.state)
        crash_point("running")

    def _make_relay(
        self,
        request: "dict[str, Any]",
        fds: "list[int]",
        created: Created,
        streams: pipes.Streams,
    ) -> None:
        if created.master >= 0:
            streams.out = streams.stdin = created.master
            created.master = -1
        self.undo.add("file", f"{self.run_dir}/attach.sock")
        self.relay = self._relay(streams, self.state)
        if request.get("attach") is not None:
            sock = _socket.socket(fileno=fds[request["attach"]])
            self.relay.add_client(sock, owner=bool(request.get("kill_on_hangup")))

    def _relay(self, streams: pipes.Streams, state: "dict[str, Any]") -> Relay:
        return Relay(
            streams,
            self.pidfd,
            rundir.listen(self.run_dir),
            LogWriter(state["log"]) if state["log"] else None,
            {"tty": state["tty"], "pid": state["pid"], "status": state["status"]},
            terminal=bool(state["tty"]),
        )

    def _give_up(self, created: "Created | None", streams: pipes.Streams) -> None:
        """Leave nothing of a container that did not come to run."""
        if created is not None and created.pidfd >= 0:
            created.abort()
        if self.relay is not None:
            self.relay.close()
        else:
            streams.close()
        self.undo.run()
        rundir.remove_file(self.run_dir, "state.json")
        self.undo.close()
        os.close(self.lock)

    def watch(self) -> "list[str] | None":
        """Serve the container until it has ended and everybody knows.

        Returns the command that the process has to become (the clean-up of a
        container that nobody else removes), or None.
        """
        assert self.relay is not None
        self.relay.run()
        code, error = self._exit_code()
        self._record_exit(code, error)
        self.relay.finish(self.state)
        on_exit = self.state.get("on_exit")
        acknowledged = self.relay.settle(acknowledge=False)
        self._clean_up()
        if on_exit and not acknowledged:
            acknowledged = self.relay.settle(acknowledge=True)
        self.relay.close()
        self.undo.close()
        if on_exit and acknowledged:
            rundir.remove(self.run_dir)
        os.close(self.lock)
        return None if acknowledged else on_exit

    def _exit_code(self) -> "tuple[int, str]":
        """Return the exit code as shells have it, and what is known to be wrong with it."""
        if self.ours:
            status = os.waitpid(self.state["pid"], 0)[1]
        else:
            told = kprocess.pidfd_exit_status(self.pidfd)
            if told is None:
                return 255, _LOST
            status = told
        return (128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)), ""

    def _record_exit(self, code: int, error: str) -> None:
        assert self.relay is not None
        usage, oom_killed = account(self.group)
        if self.relay.log_errors:
            error = f"the log lacks {self.relay.log_errors} chunks of output: its disk was full"
        self.state = {
            **self.state,
            "status": states.EXITED,
            "finished_at": time.time_ns(),
            "exit_code": code,
            "oom_killed": oom_killed,
            "error": error,
            "usage": usage,
        }
        crash_point("exited")
        try:
            if self.state.get("exit_file"):
                directory, name = os.path.split(self.state["exit_file"])
                states.write(directory, self.state, name)
            states.write(self.run_dir, self.state)
        except OSError as failure:
            # The directory may be gone (forced removal) or the disk full: the clients
            # still hear how it ended.
            self.state["error"] = error or f"the exit could not be recorded: {failure}"
        crash_point("recorded")

    def _clean_up(self) -> None:
        for fd in (self.root_fd, self.pidfd):
            if fd >= 0:
                os.close(fd)
        self.undo.run()


def account(group: "Group | None") -> "tuple[dict[str, int | None], bool]":
    """Return what a group used (names of ``model.Usage``) and whether the OOM killer struck."""
    if group is None:
        return {}, False
    stats = group.stats()
    usage = {
        "cpu_total": stats["cpu"].get("total_ns"),
        "cpu_user": stats["cpu"].get("user_ns"),
        "cpu_system": stats["cpu"].get("system_ns"),
        "memory_peak": stats["memory"].get("peak"),
        "memory_current": stats["memory"].get("current"),
        "io_read_bytes": stats["io"].get("read_bytes"),
        "io_write_bytes": stats["io"].get("write_bytes"),
        "io_read_ops": stats["io"].get("read_ops"),
        "io_write_ops": stats["io"].get("write_ops"),
        "pids_peak": stats["pids"].get("peak"),
    }
    return usage, bool(stats["memory"].get("oom_kills"))


def namespace_flags(spec: "dict[str, Any]") -> int:
    """Return the CLONE_NEW* flags of the namespaces that a spec names: what exec has to enter."""
    word = 0
    for entry in (spec.get("linux") or {}).get("namespaces") or ():
        word |= NAMESPACES[entry["type"]][0]
    return word


def read_program(request: "dict[str, Any]", fds: "list[int]") -> "FilterProgram | None":
    """Return the compiled seccomp filter that came as a descriptor, None when there is none."""
    if request.get("seccomp") is None:
        return None
    return FilterProgram(os.pread(fds[request["seccomp"]], PROGRAM_LIMIT, 0))
