"""The waiting worker and its replacement: the loop of the command server."""

from __future__ import annotations

import os
import select
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import FrameType

    from knarr.warm.loaded import LoadedCode

    # What a worker does: with the listening socket, the pipe through which it says that it has
    # accepted, the code that is loaded, and the server's pid. It does not return.
    Work = Callable[[socket.socket, int, LoadedCode, int], None]

_CHECK = 15.0  # seconds between looks at whether the socket at our path still is ours
_LULL = 0.25  # seconds after which a command is taken for one that lasts
_QUICK = 1.0  # a worker that dies unasked within this many seconds died of a defect
_QUICK_DEATHS = 5


class Leave:
    """Turns SIGTERM into a readable descriptor, so that it is seen whenever it comes."""

    def __init__(self) -> None:
        self._hear, self._say = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._say, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, _do_nothing)

    def fileno(self) -> int:
        """Return the descriptor that is readable once SIGTERM has come."""
        return self._hear

    def forget(self) -> None:
        """Let SIGTERM kill again, in a process that is not the server."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.close(self._hear)
        os.close(self._say)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Stand for a handler: only signals with one reach the wakeup descriptor."""


class Pool:
    """Waiting workers, ``ahead`` at a time, for the clients of ``listener``.

    A worker sends one byte through its pipe once it has accepted: ``a``, or
    ``r`` when it saw that the installed package is not the loaded one. The pipe
    stays open until it ends. Those that wait end with the server's process, by the kernel's
    hand: nobody else knows whether one has just accepted.
    """

    def __init__(
        self,
        listener: socket.socket,
        path: str,
        lock: int,
        leave: Leave,
        code: LoadedCode,
        work: Work,
        ahead: int = 1,
    ) -> None:
        self._listener = listener
        self._path = path
        self._lock = lock
        self._leave = leave
        self._inode = os.lstat(path).st_ino
        self._code = code
        self._work = work
        self._ahead = ahead
        self._waiting: dict[int, tuple[int, float]] = {}  # its pipe -> pid, when it was forked

    def serve(self, idle: float) -> None:
        """Keep workers waiting until SIGTERM, or ``idle`` seconds without a command.

        Raises OSError when a worker cannot be forked: a server that cannot
        serve must go, so that commands run in their callers.
        """
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps workers
        quick_deaths = 0
        last = time.monotonic()
        while quick_deaths < _QUICK_DEATHS:
            word, forked = self._next(last + idle)
            if word in (b"r", b""):  # package changed; idle, told to leave, or socket gone
                return
            last = time.monotonic()
            died_early = word == b"d" and last - forked < _QUICK
            quick_deaths = quick_deaths + 1 if died_early else 0

    def _next(self, deadline: float) -> tuple[bytes, float]:
        """Return what a worker says, and when it was forked.

        ``a``, ``r``, ``d``: it died, b"": nobody came.
        """
        if not self._code.settle():
            return b"r", 0.0
        while len(self._waiting) < self._ahead:
            self._fork()
        poll = select.poll()
        for hear in self._waiting:
            poll.register(hear, select.POLLIN)
        poll.register(self._leave, select.POLLIN)
        while True:
            left = min(_CHECK, deadline - time.monotonic())
            ready = dict(poll.poll(max(0.0, left) * 1000))
            for hear in ready.keys() & self._waiting.keys():
                _, forked = self._waiting.pop(hear)
                try:
                    word = os.read(hear, 1) or b"d"
                    if word == b"a":
                        self._await_lull(poll)
                finally:
                    os.close(hear)
                return word, forked
            if ready or time.monotonic() >= deadline or not self._ours():
                return b"", 0.0

    def _await_lull(self, poll: select.poll) -> None:
        """Return when the command has ended, lasts, or another caller has come.

        A new worker has a lot to do before it waits. It would take processors from the
        container that is just being started.
        """
        poll.register(self._listener, select.POLLIN)
        poll.poll(_LULL * 1000)

    def _fork(self) -> None:
        hear, say = os.pipe()
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                for other in (hear, *self._waiting):
                    os.close(other)
                os.close(self._lock)
                self._leave.forget()
                self._work(self._listener, say, self._code, server)
            finally:
                os._exit(125)
        os.close(say)
        self._waiting[hear] = pid, time.monotonic()

    def _ours(self) -> bool:
        try:
            return os.lstat(self._path).st_ino == self._inode
        except OSError:
            return False  # removed, or the run root is gone

    def remove_socket(self) -> None:
        """Remove the socket, unless another one is at its path by now."""
        if self._ours():
            os.unlink(self._path)
