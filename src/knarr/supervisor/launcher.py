"""The launcher: a small single-threaded process that has supervisors forked.

It holds no state that could be lost and ends when nobody has asked for
anything for a while. Forking from its ``template`` costs what a few megabytes cost, and
no caller's threads are ever forked.
"""

import _socket
import gc
import os
import resource
import select
import signal
import sys
import time

from knarr.cgroups import manager as cgroups
from knarr.kernel import process as kprocess
from knarr.kernel.files import close_range
from knarr.runtime import packets
from knarr.supervisor import lessons, rundir, spare, template, wire, work
from knarr.supervisor import state as states

SOCKET = "launcher.sock"
LOCK = "launcher.lock"
# Seconds without any event after which the next supervisor is forked ahead. The end of
# one is such a moment as well; sooner it would get in the way of a start.
_LEISURE = 0.02
# The same after one could not be forked, or ended before it was given anything.
_RESPITE = 1.0


class Launcher:
    """The process behind ``launcher.sock`` of one run root."""

    def __init__(self, run_root: str, idle: float) -> None:
        self.run_root = run_root
        self.idle = idle
        self.listener: _socket.socket | None = None
        self.school: _socket.socket | None = None
        self.template: template.Template | None = None
        self.spare: spare.Spare | None = None
        self.last = wire.RUN  # what was asked for last: more of it may come
        self.leisure = _LEISURE
        self.epoll = select.epoll()
        self.callers: dict[int, _socket.socket] = {}
        self.children: dict[int, tuple[int, str, float]] = {}

    def serve(self, ready: int) -> None:
        """Listen until idle. ``ready``: descriptor that is told when callers may connect."""
        lock = packets.only_server(self.run_root, LOCK, SOCKET)
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
        self._template()
        while self._turn():
            continue

    def _turn(self) -> bool:
        """Wait for one round of events; False when it is time to end."""
        events = self.epoll.poll(self.idle if self.spare is not None else self.leisure)
        if not events:
            if self.spare is not None:
                return self._end()
            self._fork_ahead()
        quiet = False
        for fd, _ in events:
            if self.listener is not None and fd == self.listener.fileno():
                self._accept()
            elif fd in self.children:
                quiet = self._reap(fd) or quiet
            elif self.school is not None and fd == self.school.fileno():
                self._learn(self.school)
            elif fd in self.callers:
                self.epoll.unregister(fd)
                if not self._serve(self.callers.pop(fd)):
                    return self._end()
        if quiet and self.spare is None and not self.callers:
            self._fork_ahead()
        return True

    def _end(self) -> bool:
        """Stop listening; who connected meanwhile is still served."""
        assert self.listener is not None
        rundir.remove_file(self.run_root, SOCKET)
        if self.spare is not None:
            self.spare.close()
            self.spare = None
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
        sock.settimeout(work.TIMEOUT)
        self.callers[sock.fileno()] = sock
        self.epoll.register(sock.fileno(), select.EPOLLIN)
        return True

    def _serve(self, sock: "_socket.socket") -> bool:
        """Have one request carried out; False when the launcher was asked to end."""
        try:
            operation, run_dir = wire.peek(sock)
            if operation in work.FORKED:
                watched = operation in (*wire.RUNS, wire.ADOPT)
                if not self._give(operation, sock, run_dir, watched=watched):
                    self._watch(self._fork(operation, sock, run_dir), run_dir if watched else "")
            elif operation == wire.QUIT:
                return False
            else:
                work.refuse(sock, work.told("error", f"launcher: unknown request {operation!r}"))
        except wire.OtherVersion:
            # Closing with the request unread sends the caller to a launcher of its own version.
            return False
        except (EOFError, OSError, ValueError) as error:
            work.refuse(sock, work.told("error", f"launcher: {error}"))
        finally:
            sock.close()
        return True

    def _fork_ahead(self) -> None:
        """Have a spare forked; where that cannot be now, supervisors are forked when asked for."""
        try:
            self._fork_spare()
        except OSError as error:
            self.leisure = _RESPITE
            print(f"knarr launcher: nothing is forked ahead: {error}", file=sys.stderr)

    def _fork_spare(self) -> None:
        ours, theirs = packets.pair()
        maker, other = packets.pair()
        pid = self._fork(template.SPARE, theirs, "")
        theirs.close()
        spare.hand_on(ours, self.last, other.fileno())
        other.close()
        self.spare = spare.Spare(self._watch(pid, ""), ours, maker)

    def _give(
        self, operation: bytes, sock: "_socket.socket", run_dir: str, *, watched: bool
    ) -> bool:
        """Give a request to the process that was forked ahead, if there is one."""
        ahead, self.spare, self.last = self.spare, None, operation
        if ahead is None or not ahead.give(operation, run_dir, sock):
            return False
        self.leisure = _LEISURE
        pid, _, _ = self.children[ahead.pidfd]
        self.children[ahead.pidfd] = (pid, run_dir if watched else "", time.monotonic())
        return True

    def _unwatch(self, pid: int) -> None:
        """Forget a child that ends with the launcher."""
        pidfd = next(fd for fd, child in self.children.items() if child[0] == pid)
        self.epoll.unregister(pidfd)
        os.close(pidfd)
        del self.children[pidfd]

    def _watch(self, pid: int, run_dir: str) -> int:
        """Return a descriptor of a child, whose end is taken note of."""
        pidfd = os.pidfd_open(pid)
        self.children[pidfd] = (pid, run_dir, time.monotonic())
        self.epoll.register(pidfd, select.EPOLLIN)
        return pidfd

    def _fork(self, what: bytes, sock: "_socket.socket", run_dir: str) -> int:
        """Return the pid of a new child that does ``what``. Raises OSError."""
        try:
            return self._template().fork(what, sock, run_dir)
        except (BrokenPipeError, ConnectionResetError):  # it died before it took this
            return self._template(new=True).fork(what, sock, run_dir)

    def _learn(self, school: "_socket.socket") -> None:
        try:
            learned = self._template()
            before = learned.pid
            if learned.learn():
                self._unwatch(before)
                self._watch(learned.pid, "")
        except OSError:
            # It died; its successor knows nothing yet, and will be told again.
            lessons.forget(school)

    def _template(self, *, new: bool = False) -> template.Template:
        """Return the process that forks, which is begun when there is none."""
        assert self.school is not None
        if new and self.template is not None:
            self.template.close()
            self.template = None
        if self.template is None:
            self.template = template.Template(self.school, self.run_root)
            self._watch(self.template.pid, "")
        return self.template

    def _reap(self, pidfd: int) -> bool:
        """Take note of an ended child; a supervisor that was killed gets a successor.

        So does one that a defect ended, unless the defect ended it at once: its
        successor would meet the same. Returns False for a spare, which none should replace now.
        """
        pid, run_dir, began = self.children.pop(pidfd)
        if self.template is not None and self.template.pid == pid:
            self.template.close()
            self.template = None
        unused = self.spare is not None and self.spare.pidfd == pidfd
        if self.spare is not None and unused:
            self.spare.close()
            self.spare = None
            self.leisure = _RESPITE
        self.epoll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        failed = os.WIFSIGNALED(status) or (status and time.monotonic() - began > 1)
        if run_dir and failed and states.exists(run_dir):
            self._succeed(run_dir)
        return not unused

    def _succeed(self, run_dir: str) -> None:
        """Give a container another supervisor; where that fails, it waits for ``recover``."""
        try:
            ours, theirs = packets.pair()
            self._watch(self._fork(template.SUCCESSOR, theirs, run_dir), run_dir)
            ours.close()
            theirs.close()
        except OSError as error:
            print(f"knarr launcher: no supervisor for {run_dir}: {error}", file=sys.stderr)


def _load_cgroups() -> None:
    """Find the control groups now, so that no supervisor has to."""
    try:
        cgroups.detect("auto").prepare()
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
    resource.setrlimit(resource.RLIMIT_NOFILE, (work.FILES[1], work.FILES[1]))
    _load_cgroups()
    Launcher(run_root, idle).serve(ready)
