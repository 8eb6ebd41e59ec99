"""The launcher: a small single-threaded process that forks supervisors.

It holds no state that could be lost and ends when nobody has asked for
anything for a while. Forking from it costs what its own few megabytes cost, and
no caller's threads are ever forked.
"""

import _socket
import fcntl
import gc
import os
import resource
import select
import signal
import sys
import time

from knarr.cgroups import manager as cgroups
from knarr.errors import KnarrError
from knarr.kernel import process as kprocess
from knarr.kernel.files import close_range
from knarr.runtime.channel import Channel
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.plan import SpecError
from knarr.supervisor import features, handover, lessons, rundir, undo, wire
from knarr.supervisor.container import Supervisor
from knarr.supervisor.execs import Exec, NotRunning, reap_all
from knarr.supervisor.starter import Starter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Work = Callable[[_socket.socket, str], None]

SOCKET = "launcher.sock"
LOCK = "launcher.lock"
TIMEOUT = 10.0
_MAX_FD = 0x7FFFFFFF


class Launcher:
    """The process behind ``launcher.sock`` of one run root."""

    def __init__(self, run_root: str, idle: float) -> None:
        self.run_root = run_root
        self.idle = idle
        self.listener: _socket.socket | None = None
        self.school: _socket.socket | None = None
        self.epoll = select.epoll()
        self.callers: dict[int, _socket.socket] = {}
        self.children: dict[int, tuple[int, str, float]] = {}

    def serve(self, ready: int) -> None:
        """Listen until idle. ``ready``: descriptor that is told when callers may connect."""
        lock = self._lock()
        if lock is None:
            os.write(ready, b"1")  # another launcher serves this run root already
            return
        self.listener = rundir.listen_at(self.run_root, SOCKET)
        self.listener.setblocking(False)
        self.epoll.register(self.listener.fileno(), select.EPOLLIN)
        self.school = lessons.open_school()
        self.epoll.register(self.school.fileno(), select.EPOLLIN)
        os.write(ready, b"1")
        os.close(ready)
        gc.collect()
        gc.freeze()
        gc.disable()
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
        if not events:
            return self._end()
        for fd, _ in events:
            if self.listener is not None and fd == self.listener.fileno():
                self._accept()
            elif fd in self.children:
                self._reap(fd)
            elif self.school is not None and fd == self.school.fileno():
                lessons.learn(self.school)
            elif fd in self.callers:
                self.epoll.unregister(fd)
                if not self._serve(self.callers.pop(fd)):
                    return self._end()
        return True

    def _end(self) -> bool:
        """Stop listening; who connected meanwhile is still served."""
        assert self.listener is not None
        rundir.remove_file(self.run_root, SOCKET)
        while self._accept():
            continue
        for fd, sock in self.callers.items():
            self.epoll.unregister(fd)
            if select.select([fd], [], [], 0)[0]:
                self._serve(sock)
            else:
                sock.close()  # it has asked for nothing yet and finds the next launcher
        self.callers.clear()
        self.listener.close()
        return False

    def _accept(self) -> bool:
        """Take one caller; False when none waits. One a turn: the next makes epoll tell again.

        Looking until there is none would end in an exception, whose pages every supervisor
        forked before would then keep for itself.
        """
        assert self.listener is not None
        try:
            sock = rundir.accept(self.listener)
        except OSError:
            return False
        credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        if int.from_bytes(credentials[4:8], sys.byteorder) not in (0, os.geteuid()):
            sock.close()
            return True
        sock.settimeout(TIMEOUT)
        self.callers[sock.fileno()] = sock
        self.epoll.register(sock.fileno(), select.EPOLLIN)
        return True

    def _serve(self, sock: "_socket.socket") -> bool:
        """Have one request carried out; False when the launcher was asked to end."""
        try:
            operation, run_dir = wire.peek(sock)
            if operation in FORKED:
                self._fork(
                    FORKED[operation], sock, run_dir, watched=operation in (wire.RUN, wire.ADOPT)
                )
            elif operation == wire.QUIT:
                return False
            else:
                _refuse(sock, _error("error", f"launcher: unknown request {operation!r}"))
        except wire.OtherVersion:
            # Closing with the request unread sends the caller to a launcher of its own version.
            return False
        except (EOFError, OSError, ValueError) as error:
            _refuse(sock, _error("error", f"launcher: {error}"))
        finally:
            sock.close()
        return True

    def _fork(self, work: "Work", sock: "_socket.socket", run_dir: str, *, watched: bool) -> None:
        pid = os.fork()
        if pid == 0:
            _be(work, sock, run_dir)
        pidfd = os.pidfd_open(pid)
        self.children[pidfd] = (pid, run_dir if watched else "", time.monotonic())
        self.epoll.register(pidfd, select.EPOLLIN)

    def _reap(self, pidfd: int) -> None:
        """Take note of an ended child; a supervisor that was killed gets a successor.

        So does one that a defect ended, unless the defect ended it at once: its
        successor would meet the same.
        """
        pid, run_dir, began = self.children.pop(pidfd)
        self.epoll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        failed = os.WIFSIGNALED(status) or (status and time.monotonic() - began > 1)
        if run_dir and failed and os.path.exists(f"{run_dir}/state.json"):
            ours, theirs = Channel.pair()
            self._fork(_succeed, theirs.sock, run_dir, watched=True)
            ours.close()
            theirs.close()


def _be(work: "Work", sock: "_socket.socket", run_dir: str) -> None:
    """Be the forked process; never returns."""
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, _files)
        os.setsid()
        _keep_only([fd for fd in (sock.fileno(), lessons.teacher()) if fd >= 0])
        work(sock, run_dir)
        code = 0
    except BaseException as error:  # the forked process must not return into the launcher's loop
        _answer(Channel(sock), _error("error", f"{type(error).__name__}: {error}"))
        sys.excepthook(type(error), error, error.__traceback__)
    os._exit(code)


def _keep_only(keep: "list[int]") -> None:
    """Close every descriptor from 3 on but these."""
    first = 3
    for fd in sorted(keep):
        if fd > first:
            os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, _MAX_FD)


def _error(kind: str, message: str, **more: "Any") -> "dict[str, Any]":
    return {"error": {"kind": kind, "message": message, **more}}


def _refuse(sock: "_socket.socket", message: "dict[str, Any]") -> None:
    """Answer a request that was only looked at.

    It has to be taken first: closing a socket with something unread resets the
    connection, and the caller would not see the answer (unix(7)).
    """
    try:
        sock.recv(1)
    except OSError:
        # It never came, or the caller has gone.
        return
    _answer(Channel(sock), message)


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


def _run(sock: "_socket.socket", run_dir: str) -> None:
    """Be a container's supervisor; a process of its own makes the container."""
    try:
        lock = rundir.lock(run_dir)
    except OSError as error:
        _refuse(sock, _failure(error))
        return
    ours, theirs = Channel.pair()
    if os.fork() == 0:
        ours.close()
        _make(sock, theirs)
        os._exit(0)
    theirs.close()
    sock.close()
    given = handover.receive(ours.sock)
    ours.close()
    supervisor = Supervisor(run_dir)
    if given is not None:
        supervisor.take(given)
        _supervise(supervisor)
    elif supervisor.adopt(ours=True):
        _supervise(supervisor)
    else:
        _bury(run_dir)
    os.close(lock)


def _make(sock: "_socket.socket", supervisor: Channel) -> None:
    """Be the process that makes the container and answers the caller."""
    try:
        request, fds = wire.receive(sock)
        lessons.begin()
        starter = Starter(request)
        answer = starter.start(fds, supervisor.sock)
    except BaseException as error:  # whatever it is, the caller waits for an answer
        _answer(Channel(sock), _failure(error))
        return
    _answer(Channel(sock), answer)
    if starter.created is not None:
        lessons.teach(starter.created.seen, spec=request["spec"])


def _bury(run_dir: str) -> None:
    """Wait for what is left of a container that did not come to run, and take it back."""
    reap_all()
    undo.replay(run_dir)
    rundir.remove_file(run_dir, "state.json")


def _supervise(supervisor: Supervisor) -> None:
    on_exit = supervisor.watch()
    if on_exit:
        os.execve(on_exit[0], on_exit, dict(os.environ))


def _succeed(sock: "_socket.socket", run_dir: str) -> None:
    """Take over from a supervisor that was killed, once whoever shares its lock has gone too."""
    _adopt(sock, run_dir, wait=True)


def _adopt(sock: "_socket.socket", run_dir: str, *, wait: bool = False) -> None:
    """Take over a container whose supervisor is dead."""
    channel = Channel(sock)
    sock.recv(1)  # an answer only arrives when nothing of the request is unread
    try:
        lock = rundir.lock(run_dir, wait=wait)
        supervisor = Supervisor(run_dir)
        adopted = supervisor.adopt()
    except OSError as error:
        _answer(channel, _failure(error))
        return
    _answer(channel, {"adopted": adopted})
    channel.close()
    if adopted:
        _supervise(supervisor)
    os.close(lock)


def _exec(sock: "_socket.socket", run_dir: str) -> None:
    """Run a further command in a container."""
    del run_dir
    channel = Channel(sock)
    task = Exec()
    try:
        task.start(*wire.receive(sock))
    except (RuntimeFailure, KnarrError, NotRunning, OSError, ValueError, EOFError) as error:
        _answer(channel, _failure(error))
        return
    _answer(channel, {"pid": task.pid}, (task.master,) if task.master >= 0 else ())
    task.watch(channel)


def _features(sock: "_socket.socket", run_dir: str) -> None:
    """Find out what this kernel can do; in a process of its own, since it makes namespaces."""
    del run_dir
    request, _ = wire.receive(sock)
    _answer(Channel(sock), features.probe(request["directory"]))


FORKED: "dict[bytes, Work]" = {
    wire.RUN: _run,
    wire.EXEC: _exec,
    wire.ADOPT: _adopt,
    wire.FEATURES: _features,
}


# The limit of open files that containers get: what the launcher was started with.
_files = resource.getrlimit(resource.RLIMIT_NOFILE)


def _load_cgroups() -> None:
    """Find the control groups now, so that no supervisor has to."""
    try:
        cgroups.detect("auto")
    except (OSError, ValueError):
        # A machine without them: a container that wants limits will say so.
        return


def main(run_root: str, idle: float, ready: int) -> None:
    """Run the launcher; ``ready`` is the descriptor on which the caller waits."""
    close_range(ready + 1)
    if ready != 3:
        close_range(3, ready - 1)
    kprocess.set_dumpable(False)
    kprocess.set_name("knarr-launcher")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.chdir("/")
    # Files are made with their own modes; what a container sees of its control groups is
    # made by mkdir and has to be readable.
    os.umask(0o022)
    # Every container costs the launcher a descriptor.
    resource.setrlimit(resource.RLIMIT_NOFILE, (_files[1], _files[1]))
    _load_cgroups()
    Launcher(run_root, idle).serve(ready)
