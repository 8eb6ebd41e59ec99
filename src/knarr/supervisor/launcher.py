"""The launcher: a small single-threaded process that forks supervisors.

It holds no state that could be lost and ends when nobody has asked for
anything for a while. Forking from it costs what its own few megabytes cost, and
no caller's threads are ever forked.
"""

import _socket
import fcntl
import gc
import os
import select
import signal
import struct
import sys
import time

from knarr.cgroups import manager as cgroups
from knarr.errors import KnarrError
from knarr.kernel import process as kprocess
from knarr.kernel.files import close_range
from knarr.runtime.channel import Channel
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.plan import SpecError
from knarr.supervisor import features, rundir
from knarr.supervisor.container import Supervisor
from knarr.supervisor.execs import Exec, NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SOCKET = "launcher.sock"
LOCK = "launcher.lock"
BUFFER = 1 << 20


class Launcher:
    """The process behind ``launcher.sock`` of one run root."""

    def __init__(self, run_root: str, data_root: str, idle: float) -> None:
        self.run_root = run_root
        self.data_root = data_root
        self.idle = idle
        self.listener: _socket.socket | None = None
        self.epoll = select.epoll()
        self.callers: dict[int, Channel] = {}
        self.children: dict[int, tuple[int, str]] = {}

    def serve(self, ready: int) -> None:
        """Listen until idle. ``ready``: descriptor that is told when callers may connect."""
        lock = self._lock()
        if lock is None:
            os.write(ready, b"1")  # another launcher serves this run root already
            return
        self.listener = rundir.listen_at(self.run_root, SOCKET)
        self.listener.setblocking(False)
        self.epoll.register(self.listener.fileno(), select.EPOLLIN)
        os.write(ready, b"1")
        os.close(ready)
        gc.collect()
        gc.freeze()
        while self._turn():
            continue

    def _lock(self) -> "int | None":
        """Return the held lock, None when another launcher serves; one about to end is awaited."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(f"{self.run_root}/{LOCK}", flags, 0o600)
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                try:
                    rundir.connect(self.run_root, SOCKET).close()
                except OSError:
                    time.sleep(0.001)
                    continue
                os.close(fd)
                return None
            return fd

    def _turn(self) -> bool:
        """Wait for one round of events; False when it is time to end."""
        events = self.epoll.poll(self.idle)
        if not events and not self.callers:
            return self._end()
        for fd, _ in events:
            if self.listener is not None and fd == self.listener.fileno():
                self._accept()
            elif fd in self.children:
                self._reap(fd)
            elif fd in self.callers:
                channel = self.callers.pop(fd)
                self.epoll.unregister(fd)
                if not self._serve(channel):
                    return self._end()
        return True

    def _end(self) -> bool:
        """Stop listening; who connected meanwhile is still served."""
        assert self.listener is not None
        rundir.remove_file(self.run_root, SOCKET)
        before = len(self.callers)
        self._accept()
        for fd in list(self.callers):
            self.epoll.unregister(fd)
            self._serve(self.callers.pop(fd))
        self.listener.close()
        return before < 0

    def _accept(self) -> None:
        assert self.listener is not None
        while True:
            try:
                sock = rundir.accept(self.listener)
            except OSError:
                return
            credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
            if struct.unpack("=3i", credentials)[1] not in (0, os.geteuid()):
                sock.close()
                continue
            sock.settimeout(10.0)
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, BUFFER)
            self.callers[sock.fileno()] = Channel(sock)
            self.epoll.register(sock.fileno(), select.EPOLLIN)

    def _serve(self, channel: Channel) -> bool:
        """Carry out one request; False when the launcher was asked to end."""
        try:
            request, fds = channel.receive()
        except (EOFError, OSError, ValueError):
            channel.close()
            return True
        operation = request.get("op")
        try:
            if operation in FORKED:
                self._fork(FORKED[operation], channel, request, fds)
            elif operation == "quit":
                channel.send({"ok": True})
                return False
            elif operation == "ping":
                channel.send({"pid": os.getpid(), "data_root": _identity(self.data_root)})
            else:
                channel.send(_error("error", f"launcher: unknown request {operation!r}"))
        except OSError as error:
            _answer(channel, _error("error", f"launcher: {error}"))
        finally:
            channel.close()
            for fd in fds:
                os.close(fd)
        return True

    def _fork(
        self,
        work: "Callable[[Channel, dict[str, Any], list[int]], None]",
        channel: Channel,
        request: "dict[str, Any]",
        fds: "list[int]",
    ) -> None:
        pid = os.fork()
        if pid == 0:
            _be(work, channel, request, fds)
        pidfd = kprocess.pidfd_open(pid)
        run_dir = request.get("run_dir", "") if request["op"] in ("run", "adopt") else ""
        self.children[pidfd] = (pid, run_dir)
        self.epoll.register(pidfd, select.EPOLLIN)

    def _reap(self, pidfd: int) -> None:
        """Take note of an ended child; a supervisor that was killed gets a successor."""
        pid, run_dir = self.children.pop(pidfd)
        self.epoll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        if run_dir and os.WIFSIGNALED(status) and os.path.exists(f"{run_dir}/state.json"):
            ours, theirs = Channel.pair()
            self._fork(_adopt, theirs, {"op": "adopt", "run_dir": run_dir}, [])
            ours.close()
            theirs.close()


def _be(
    work: "Callable[[Channel, dict[str, Any], list[int]], None]",
    channel: Channel,
    request: "dict[str, Any]",
    fds: "list[int]",
) -> None:
    """Be the forked process; never returns."""
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        _keep_only([channel.fileno(), *fds])
        work(channel, request, fds)
        code = 0
    except BaseException as error:  # the forked process must not return into the launcher's loop
        _answer(channel, _error("error", f"{type(error).__name__}: {error}"))
        if os.environ.get("KNARR_DEBUG"):
            sys.excepthook(type(error), error, error.__traceback__)
    os._exit(code)


def _keep_only(keep: "list[int]") -> None:
    """Close every descriptor from 3 on but these."""
    first = 3
    for fd in sorted(keep):
        if fd > first:
            close_range(first, fd - 1)
        first = fd + 1
    close_range(first)


def _error(kind: str, message: str, **more: "Any") -> "dict[str, Any]":
    return {"error": {"kind": kind, "message": message, **more}}


def _answer(channel: Channel, message: "dict[str, Any]", fds: "tuple[int, ...]" = ()) -> None:
    try:
        channel.send(message, fds)
    except OSError:
        # The caller has gone. The container it asked for does not depend on it.
        return


def _failure(error: BaseException) -> "dict[str, Any]":
    """Return the answer that tells a caller why something could not be started."""
    if isinstance(error, RuntimeFailure):
        return _error(error.kind, error.message, step=error.step, errno=error.errno)
    if isinstance(error, rundir.Busy):
        return _error("busy", str(error.strerror))
    if isinstance(error, NotRunning):
        return _error("not-running", "the container is not running")
    if isinstance(error, (SpecError, ValueError, KnarrError)):
        return _error("invalid", str(error))
    if isinstance(error, OSError):
        where = f": {error.filename}" if isinstance(error.filename, str) else ""
        return _error("error", f"{error.strerror or error}{where}", errno=error.errno)
    return _error("error", f"{type(error).__name__}: {error}")


def _run(channel: Channel, request: "dict[str, Any]", fds: "list[int]") -> None:
    """Be a container's supervisor."""
    kprocess.set_name(f"knarr:{request['id'][:9]}")
    supervisor = None
    try:
        supervisor = Supervisor(request["run_dir"])
        warnings = supervisor.start(request, fds)
    except (RuntimeFailure, KnarrError, OSError, ValueError) as error:
        _answer(channel, _failure(error))
        return
    state = supervisor.state
    answer = {"pid": state["pid"], "started_at": state["started_at"], "warnings": warnings}
    _answer(channel, answer)
    channel.close()
    attached = request.get("attach")
    for number, fd in enumerate(fds):
        if number != attached and number not in (request.get("mount_fds") or {}).values():
            os.close(fd)
    _supervise(supervisor)


def _supervise(supervisor: Supervisor) -> None:
    on_exit = supervisor.watch()
    if on_exit:
        os.execve(on_exit[0], on_exit, dict(os.environ))


def _adopt(channel: Channel, request: "dict[str, Any]", fds: "list[int]") -> None:
    """Take over a container whose supervisor is dead."""
    del fds
    try:
        supervisor = Supervisor(request["run_dir"])
        adopted = supervisor.adopt()
    except OSError as error:
        _answer(channel, _failure(error))
        return
    _answer(channel, {"adopted": adopted})
    channel.close()
    if adopted:
        kprocess.set_name(f"knarr:{supervisor.state['id'][:9]}")
        _supervise(supervisor)


def _exec(channel: Channel, request: "dict[str, Any]", fds: "list[int]") -> None:
    """Run a further command in a container."""
    task = Exec()
    try:
        created = task.start(request, fds)
    except (RuntimeFailure, KnarrError, NotRunning, OSError, ValueError) as error:
        _answer(channel, _failure(error))
        return
    _answer(channel, {"pid": created.pid}, (created.master,) if created.master >= 0 else ())
    task.watch(channel)


def _features(channel: Channel, request: "dict[str, Any]", fds: "list[int]") -> None:
    """Find out what this kernel can do; in a process of its own, since it makes namespaces."""
    del fds
    _answer(channel, features.probe(request["directory"]))


FORKED: "dict[str, Callable[[Channel, dict[str, Any], list[int]], None]]" = {
    "run": _run,
    "exec": _exec,
    "adopt": _adopt,
    "features": _features,
}


def _identity(path: str) -> "list[int]":
    """Return device and inode: two mount namespaces may disagree about a path."""
    try:
        status = os.stat(path)
    except OSError:
        return [0, 0]
    return [status.st_dev, status.st_ino]


def _load_cgroups() -> None:
    """Find the control groups now, so that no supervisor has to."""
    try:
        cgroups.detect("auto")
    except (OSError, ValueError):
        # A machine without them: a container that wants limits will say so.
        return


def main(run_root: str, data_root: str, idle: float, ready: int) -> None:
    """Run the launcher; ``ready`` is the descriptor on which the caller waits."""
    close_range(ready + 1)
    if ready != 3:
        close_range(3, ready - 1)
    kprocess.set_dumpable(False)
    kprocess.set_name("knarr-launcher")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o077)
    _load_cgroups()
    Launcher(run_root, data_root, idle).serve(ready)
