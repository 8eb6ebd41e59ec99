"""Hooks: programs of the bundle that run at set moments, with the container's state as input.

Source: runtime-spec config.md, "POSIX-platform Hooks". Input and output are files in memory, so
that no hook can make this process wait by not reading, or by leaving a child behind.
"""

import os
import select

from knarr.kernel import plainjson, process
from knarr.kernel.files import CLOSE_RANGE_CLOEXEC, close_range
from knarr.kernel.lean import signal
from knarr.kernel.namespaces import CLONE_NEWUSER, setns
from knarr.kernel.process import pid_inside
from knarr.oci.document import hooks as hooks_of
from knarr.runtime.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from knarr.oci.log import Journal
    from knarr.oci.state import Container

# Who runs those of the caller's namespaces, where this process has left them.
elsewhere: "Callable[[str, int, dict[str, Any]], None] | None" = None
_SHOWN = 1024  # bytes of a hook's output in a message
_CANNOT = 127  # the status of a child that could not execute its hook


class Inside:
    """A container to run in. flags: CLONE_NEW* of its namespaces.

    rooted: entering them does not lead into its root, which is not that of its mount namespace.
    cwd: where to be then, in the host's tree; empty: in the root.
    """

    __slots__ = ("cwd", "flags", "pid", "pidfd", "rooted")

    def __init__(
        self, pid: int, pidfd: int, flags: int, *, rooted: bool = False, cwd: str = ""
    ) -> None:
        self.cwd = cwd
        self.pid = pid
        self.pidfd = pidfd
        self.flags = flags
        self.rooted = rooted

    def enter(self) -> None:
        """Enter it, by a process that does nothing else any more. Raises OSError."""
        root = os.open(f"/proc/{self.pid}/root", os.O_PATH | os.O_CLOEXEC) if self.rooted else -1
        if self.flags:
            setns(self.pidfd, self.flags)
        if self.rooted:
            os.fchdir(root)
            os.chroot(".")
        if self.cwd:
            os.chdir(self.cwd)
        if self.flags & CLONE_NEWUSER:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)


def run(
    config: "dict[str, Any]",
    kind: str,
    state: "dict[str, Any]",
    inside: "Inside | None" = None,
) -> None:
    """Run the hooks of a kind one after the other. Raises RuntimeFailure at the first that fails.

    inside: where they run, if that is the container.
    """
    for index in range(len(hooks_of(config, kind))):
        _run_anywhere(config, kind, index, state, inside)


def run_all(
    config: "dict[str, Any]", kind: str, state: "dict[str, Any]", journal: "Journal"
) -> None:
    """Run the hooks of a kind: what fails, or cannot be run, is a warning, and the rest goes on."""
    for index in range(len(hooks_of(config, kind))):
        try:
            _run_anywhere(config, kind, index, state, None)
        except (OSError, RuntimeFailure) as error:
            journal.warning(str(error))


def _run_anywhere(
    config: "dict[str, Any]",
    kind: str,
    index: int,
    state: "dict[str, Any]",
    inside: "Inside | None",
) -> None:
    """Run one hook here, or have it run by who stayed where the caller is (``outside``)."""
    if inside is None and elsewhere is not None:
        elsewhere(kind, index, state)
    else:
        run_one(config, kind, index, state, inside)


def run_one(
    config: "dict[str, Any]",
    kind: str,
    index: int,
    state: "dict[str, Any]",
    inside: "Inside | None",
) -> None:
    """Run one hook. Raises RuntimeFailure when it fails."""
    hook = dict(hooks_of(config, kind)[index])
    if hook.get("env") is None:
        # As with other runtimes: whoever is at home on the host may need a PATH of there.
        ours = [f"{name}={value}" for name, value in os.environ.items()]
        theirs = (config.get("process") or {}).get("env") or []
        hook["env"] = theirs if kind == "startContainer" else ours
    told = dict(state)
    if inside is not None:
        told["pid"] = pid_inside(inside.pid)
    text, output = os.memfd_create("state"), os.memfd_create("output")
    try:
        os.write(text, plainjson.dumps(told).encode())
        os.lseek(text, 0, os.SEEK_SET)
        _run(f"hooks.{kind}[{index}] ({hook['path']})", hook, (text, output), inside)
    finally:
        os.close(text)
        os.close(output)


def _run(
    name: str,
    hook: "dict[str, Any]",
    files: "tuple[int, int]",
    inside: "Inside | None",
) -> None:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be(hook, files, inside, parent)
    pidfd = os.pidfd_open(pid)
    timeout = hook.get("timeout")
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    try:
        ended = poll.poll(None if timeout is None else timeout * 1000)
    finally:
        os.close(pidfd)
        # It leads a group of its own: what it left behind in there is not to outlive it when it
        # is late, or when this process is interrupted.
        if not _has_ended(pid):
            _kill(pid)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not ended:
        raise RuntimeFailure("error", "hook", f"{name}: did not end within {timeout} s")
    if status:
        how = f"exit status {status}" if status > 0 else f"signal {-status}"
        said = os.pread(files[1], _SHOWN, 0).decode(errors="replace").strip()
        text = f"{name}: {how}" + (f": {said}" if said else "")
        raise RuntimeFailure("error", "hook", text)


def _has_ended(pid: int) -> bool:
    """Return whether a child has ended; it stays to be waited for."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, pid, flags) is not None


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)  # it has not come to lead a group yet


def _be(
    hook: "dict[str, Any]", files: "tuple[int, int]", inside: "Inside | None", parent: int
) -> None:
    """Be the child: enter, and execute the hook. Never returns, and imports nothing from here on.

    A new PID namespace is for its children, so there the hook is a child of this one.
    """
    code = _CANNOT
    try:
        process.set_pdeathsig(signal.SIGKILL)  # of a command that is killed nothing stays
        if os.getppid() != parent:
            os._exit(_CANNOT)
        os.setsid()
        for number, fd in enumerate((files[0], files[1], files[1])):
            os.dup2(fd, number)
        # Also what the caller gave the program to keep.
        close_range(3, flags=CLOSE_RANGE_CLOEXEC)
        args = hook.get("args") or [hook["path"]]
        words = (entry.partition("=") for entry in hook.get("env") or ())
        env = {name: value for name, mark, value in words if mark}
        if inside is None:
            os.execve(hook["path"], args, env)
        inside.enter()
        pid = os.posix_spawn(hook["path"], args, env)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code < 0:
            os.kill(os.getpid(), -code)
    except OSError as error:
        os.write(2, f"{error.strerror}\n".encode())
    finally:
        os._exit(code if code >= 0 else 128 - code)


def run_poststop(config: "dict[str, Any]", container: "Container", journal: "Journal") -> None:
    """Run the hooks after a container's end: it is gone all the same if one fails."""
    if hooks_of(config, "poststop"):
        run_all(config, "poststop", container.told("stopped"), journal)
