"""The command of another OCI runtime, such as runc or crun, for one container.

Its arguments are those that all of them have (runtime-spec, runtime.md, and the command
line of runc that containerd and podman rely on). Its state is kept below the run directory
of the container, so nothing of it can be anywhere else. What it says in its log is told in
its own words. One that does not end in time is killed.
"""

import json
import os
import select
import signal
import time

from knarr.kernel import mounts as k
from knarr.kernel import process as kprocess
from knarr.kernel.files import CLOSE_RANGE_CLOEXEC, close_range
from knarr.kernel.namespaces import CLONE_NEWNS, unshare
from knarr.runtime import nulls
from knarr.runtime.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Names in a container's run directory: the runtime's state, and the bundle.
STATE, BUNDLE = "runtime", "bundle"
# How long one call may take (s), where nobody says; a removal is waited for by others.
PATIENCE = 60.0
REMOVAL = 15.0
_NULL = "/dev/null"
_LIMIT = 1 << 16  # bytes of a log or an answer that are looked at
_LONGEST = 2000  # characters of what a runtime says
# What would have it keep descriptors for the container, or talk to whoever started knarr.
_NOT_FOR_IT = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET")
# crun's words for a directory are the last.
_NOT_EXECUTABLE = (
    "permission denied",
    "is a directory",
    "open executable: operation not permitted",
)
_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)


class Foreign:
    """One container of another runtime.

    path: of its program. run_dir: the container's. container: its id. patience: s. place: where
    its root file system was when it was made, which only its maker saw.
    """

    __slots__ = ("bundle", "container", "name", "path", "patience", "place", "root", "run_dir")

    def __init__(self, value: "dict[str, Any]", run_dir: str, container: str) -> None:
        """``value``: what the engine says of it: ``path``, ``name``, ``patience``, ``place``."""
        self.path: str = value["path"]
        self.name: str = value["name"]
        self.patience: float = value.get("patience") or PATIENCE
        self.place: str = value.get("place") or ""
        self.run_dir = run_dir
        self.container = container
        self.root = f"{run_dir}/{STATE}"
        self.bundle = f"{run_dir}/{BUNDLE}"

    def call(
        self,
        verb: str,
        *words: str,
        stdio: "tuple[int, int, int]" = (-1, -1, -1),
        owner: int = -1,
        program: str = "",
        again: bool = False,
    ) -> None:
        """Have it do something; it ends with us. The caller is single-threaded.

        stdio: descriptors, -1 is /dev/null. owner: a connection whose other end has to live.
        program: of the container, about which it may complain. again: it was there when the
        root file system was, at a place that it may want to be. Raises RuntimeFailure.
        """
        log = self._log()
        try:
            pid = _fork(self._argv(verb, words, log), stdio, self.place if again else "")
            status = _await(pid, self.patience, owner)
            if status != 0:
                raise self._failure(verb, status, log, program, stdio[2])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._unusable(error) from error
        finally:
            _unlink(log)

    def begin(self, verb: str, *words: str) -> int:
        """Have it do something meanwhile; return the pid of the child. Raises OSError.

        Whatever threads the caller has.
        """
        return _spawn(self._argv(verb, words, _NULL), -1)

    def status(self) -> str:
        """Return what it says of the container: ``created``, ``running``; empty when nothing."""
        answer = os.memfd_create("state", os.MFD_CLOEXEC)
        try:
            pid = _spawn(self._argv("state", (self.container,), _NULL), answer)
            if _await(pid, self.patience) != 0:
                return ""
            found = json.loads(os.pread(answer, _LIMIT, 0))
            return str(found["status"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""  # it is gone, or does not do what a runtime does
        finally:
            os.close(answer)

    def remove(self) -> None:
        """Take away all that it has of the container, whatever it says to that. Raises OSError.

        Who is left of its processes is in the container's control group, which goes next.
        """
        from knarr.runtime.removal import remove_path

        if os.path.isdir(self.root):
            try:
                pid = _spawn(self._argv("delete", ("--force", self.container), _NULL), -1)
                _await(pid, min(self.patience, REMOVAL))
            except OSError:
                pass  # it is not installed any more
        for path in (self.root, self.bundle):
            remove_path(path)

    def _log(self) -> str:
        return f"{self.run_dir}/runtime.{os.getpid()}.log"

    def _argv(self, verb: str, words: "tuple[str, ...]", log: str) -> "list[str]":
        own = ("--root", self.root, "--log", log, "--log-format", "json")
        return [self.path, *own, verb, *words]

    def _unusable(self, error: OSError) -> RuntimeFailure:
        text = f"OCI runtime {self.name}: {self.path}: {error.strerror}"
        return RuntimeFailure("error", "runtime", text, error.errno or 0)

    def _failure(
        self, verb: str, status: "int | None", log: str, program: str, stderr: int
    ) -> RuntimeFailure:
        """Return the failure that its log, or else its standard error, tells."""
        said = _words(_read(log)) or _last_line(_read_stream(stderr))
        if status is None:
            why = f"did not end in {self.patience:g} seconds"
        elif status < 0:
            why = f"was killed by signal {-status}"
        else:
            why = f"ended with {status}, and says nothing"
        if status is None or status < 0 or not said:
            said = f"{self.name} {why}{': ' if said else ''}{said}"
        elif not said.startswith(self.name):
            said = f"{self.name}: {said}"
        kind = _kind(said, program)
        return RuntimeFailure(kind, "runtime", f"OCI runtime {verb} failed: {said}")


def _kind(said: str, program: str) -> str:
    """Return what kind of failure it is, by the words that Docker looks for."""
    lower = said.lower()
    if "executable file" in lower and "not found" in lower:
        return "not-found"
    ways = (f'"{program}"', f"`{program}`", f"stat {program}:", f"exec {program}:")
    if program and ("open executable" in lower or any(way in said for way in ways)):
        if "no such file or directory" in lower:
            return "not-found"
        if any(words in lower for words in _NOT_EXECUTABLE):
            return "not-executable"
    return "error"


def _environment() -> "dict[str, str]":
    return {name: value for name, value in os.environ.items() if name not in _NOT_FOR_IT}


def _fork(argv: "list[str]", stdio: "tuple[int, int, int]", place: str) -> int:
    """Return the pid of a child that has executed the runtime, and dies with us. OSError.

    place: is an empty directory for it.
    """
    parent = os.getpid()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be(argv, stdio, parent, writer, place)
    os.close(writer)
    try:
        problem = os.read(reader, 16)
    finally:
        os.close(reader)
    if problem:
        os.waitpid(pid, 0)
        raise OSError(int(problem), os.strerror(int(problem)))
    return pid


def _be(
    argv: "list[str]", stdio: "tuple[int, int, int]", parent: int, writer: int, place: str
) -> None:
    """Become the runtime; never returns."""
    try:
        kprocess.set_pdeathsig(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        os.setsid()
        if place:
            cover(os.path.dirname(place))
            os.mkdir(place)
        null = nulls.private()
        for number, fd in enumerate(stdio):
            os.dup2(null if fd < 0 or nulls.is_null(fd) else fd, number)
        close_range(3, flags=CLOSE_RANGE_CLOEXEC)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        kprocess.default_signals()
        os.execve(argv[0], argv, _environment())
    except OSError as error:
        os.write(writer, b"%d" % (error.errno or 1))
    finally:
        os._exit(1)


def cover(directory: str) -> None:
    """Have an empty file system at a directory, seen by this process and those it starts. OSError.

    Everybody may pass through it.
    """
    unshare(CLONE_NEWNS)
    k.mount(None, "/", None, k.MS_REC | k.MS_SLAVE)
    k.mount("knarr", directory, "tmpfs", k.MS_NOSUID | k.MS_NODEV, "mode=0711")


def _spawn(argv: "list[str]", stdout: int) -> int:
    """Return the pid of a child that is the runtime, of a caller with whatever threads. OSError."""
    actions: list[Any] = [(os.POSIX_SPAWN_OPEN, fd, _NULL, os.O_RDWR, 0) for fd in (0, 1, 2)]
    if stdout >= 0:
        actions[1] = (os.POSIX_SPAWN_DUP2, stdout, 1)
    return os.posix_spawn(
        argv[0], argv, _environment(), file_actions=actions, setsid=True, setsigmask=(),
        setsigdef=_IGNORED,
    )  # fmt: skip


def _await(pid: int, patience: float, owner: int = -1) -> "int | None":
    """Return the exit code of a child, or the negative number of a signal; None: it was too late.

    Raises BrokenPipeError when ``owner`` has gone first. What does not end is killed.
    """
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if owner >= 0:
        poll.register(owner, 0)
    deadline = time.monotonic() + patience
    ended = False
    try:
        while not ended and (left := deadline - time.monotonic()) > 0:
            ready = [fd for fd, _ in poll.poll(left * 1000)]
            ended = pidfd in ready
            if not ended and ready:
                raise BrokenPipeError(32, "the supervisor was killed")
    finally:
        os.close(pidfd)
        if not ended:
            kill_session(pid)
        status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status) if ended else None


def kill_session(pid: int) -> None:
    """Kill a child that leads a session, with those of its process group."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has not come to lead one, or everybody has ended


def end_children() -> None:
    """Kill and await all children of this process, which is single-threaded."""
    while found := _children():
        for pid in found:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _children() -> "list[int]":
    own = os.getpid()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parent = int(kprocess.stat_fields(int(name))[1])
            except OSError:
                continue  # it has ended
            if parent == own:
                found.append(int(name))
    return found


def _read(path: str) -> bytes:
    """Return the last bytes of a file, nothing when there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(fd, _LIMIT, max(0, os.fstat(fd).st_size - _LIMIT))
    finally:
        os.close(fd)


def _read_stream(fd: int) -> bytes:
    """Return what waits in the named pipe that a runtime had for its standard error."""
    if fd < 0:
        return b""
    try:
        other = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(other, _LIMIT)
    except OSError:
        return b""
    finally:
        os.close(other)


def _words(log: bytes) -> str:
    """Return the last error in a log of JSON lines, empty when there is none."""
    said = ""
    for line in log.splitlines():
        try:
            entry = json.loads(line)
            if entry["level"] in ("error", "fatal", "panic"):
                said = str(entry["msg"])
        except (ValueError, KeyError, TypeError):
            continue
    return _plain(said)


def _last_line(text: bytes) -> str:
    lines = [line for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    return _plain(lines[-1]) if lines else ""


def _plain(text: str) -> str:
    """Return a text as one line that a terminal can be shown."""
    line = " ".join(text.split())
    return "".join(each if each.isprintable() else "?" for each in line)[:_LONGEST]


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
