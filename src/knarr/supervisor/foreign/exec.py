"""A further command in a container of another runtime, by its ``exec``."""

import json
import os

from knarr.cgroups import manager as cgroups
from knarr.kernel import process as kprocess
from knarr.kernel import tty
from knarr.runtime.foreign import Foreign, end_children
from knarr.supervisor import rundir
from knarr.supervisor.foreign import process as processes
from knarr.supervisor.foreign.bundle import settle_user, write_new
from knarr.supervisor.foreign.console import Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    State = dict[str, Any]

_NAME = "x-knarr-name"


class Started:
    """A command that runs: its pid, pidfd and the master of its terminal (or -1), and its tree."""

    __slots__ = ("master", "pid", "pidfd", "tree")

    def __init__(self, pid: int, pidfd: int, master: int, tree: processes.Tree) -> None:
        self.pid, self.pidfd, self.master, self.tree = pid, pidfd, master, tree


def start(state: "State", request: "dict[str, Any]", fds: "list[int]") -> Started:
    """Start the command, as a child of this process. Raises RuntimeFailure, OSError.

    state: of the container. request, fds: as ``Exec.start`` has them.
    """
    run_dir, name = request["run_dir"], request["exec_id"]
    runtime = Foreign(state["runtime"], run_dir, state["id"])
    process = dict(request["process"])
    if _NAME in process["user"]:
        _settle(process, state["pid"])
    files = [f"{name}.json", _pid_name(name)]
    console = Console(run_dir, f"{name}.sock") if process.get("terminal") else None
    kprocess.set_child_subreaper(True)
    try:
        write_new(f"{run_dir}/{files[0]}", json.dumps(process).encode(), 0o600)
        _call(runtime, process, request, fds, f"{run_dir}/{files[1]}", console)
        members = _members(state)
        path = f"{run_dir}/{files[1]}"
        pid, pidfd = processes.open_started(runtime, path, os.getpid(), members)
        started = Started(pid, pidfd, -1, processes.Tree(pid, members))
        if console is not None:
            started.master = console.master()
            size = process.get("consoleSize")
            if size:
                tty.set_size(started.master, size["height"], size["width"])
    except BaseException:
        end_children()
        for each in files:
            rundir.remove_file(run_dir, each)
        raise
    finally:
        kprocess.set_child_subreaper(False)
        if console is not None:
            console.close()
    rundir.remove_file(run_dir, files[0])
    return started


def _call(
    runtime: Foreign,
    process: "dict[str, Any]",
    request: "dict[str, Any]",
    fds: "list[int]",
    pid_file: str,
    console: "Console | None",
) -> None:
    """Have the runtime do it; returns when the command runs."""
    words = ["--detach", "--pid-file", pid_file]
    words += ["--process", f"{request['run_dir']}/{request['exec_id']}.json"]
    if console is not None:
        words += ["--console-socket", console.path]
    indexes = request.get("fds")
    stdio = (-1, -1, -1)
    if indexes is not None and console is None:
        stdio = (fds[indexes[0]], fds[indexes[1]], fds[indexes[2]])
    program = process["args"][0]
    runtime.call("exec", *words, runtime.container, stdio=stdio, program=program, again=True)


def _settle(process: "dict[str, Any]", pid: int) -> None:
    """Look up who a command is in the container's own files."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        settle_user(process, root)
    finally:
        os.close(root)


def _pid_name(name: str) -> str:
    return f"{name}.pid"


def _members(state: "State") -> "Callable[[], list[int]]":
    """Return what lists the processes of a container. Raises OSError when it has ended."""
    where = state["cgroup"]
    return cgroups.detect(where["manager"]).open(where["path"]).procs


def end(run_dir: str, name: str) -> None:
    """Forget a command that has ended."""
    rundir.remove_file(run_dir, _pid_name(name))


def sweep(state: "State", run_dir: str, name: str) -> None:
    """Kill what is left of a command whose watcher was killed. Raises OSError, ValueError."""
    try:
        with open(f"{run_dir}/{_pid_name(name)}", "rb") as file:
            pid = int(file.read(32))
    except FileNotFoundError:
        return
    processes.Tree(pid, _members(state)).kill()
    end(run_dir, name)
