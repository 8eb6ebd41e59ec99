"""A supervisor's share of a health check: it has each made when its time has come.

It waits for an alarm in the loop in which it waits for everything else, so a container costs
no process for being checked. What is to be done then is done by a child (``probe``), a fork of
the supervisor, which therefore stays small and needs no launcher to be there. The child starts
the command, writes down what it found, and tells when it is time for the next.

It holds one end of a socket whose other end is ours: closing that, as the kernel does when the
supervisor is killed, has it kill the command with all that this started.
"""

import os
import select
import sys

from knarr.kernel import process as kprocess
from knarr.kernel import timer
from knarr.runtime import packets
from knarr.supervisor import healthstate, probe
from knarr.supervisor import state as states

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

_PAUSED = "paused"
# How long the end of a child is waited for when the container has ended (ms).
_PATIENCE = 1000
# What is said of checks whose children did not come to an end by themselves.
_KILLED = "the process that ran the check was killed"


class Monitor:
    """The health check of one container that runs.

    fd: to be waited for; then ``turn`` does what is due.
    """

    __slots__ = (
        "_delay", "_epoll", "_paused", "_pid", "_pidfd", "_sock", "_stopped", "_timer", "fd",
        "run_dir",
    )  # fmt: skip

    def __init__(self, run_dir: str, *, fresh: bool) -> None:
        """Begin. fresh: the container was started now, not taken over. Raises OSError, ValueError.

        Else a child finds out how far the checks are, and takes away what is left of one.
        """
        self.run_dir = run_dir
        self._pid, self._pidfd = 0, -1
        self._sock: _socket.socket | None = None
        self._paused = self._stopped = False
        self._delay = int(states.read_body(run_dir, healthstate.CHECK).partition(b"\n")[0])
        self._timer = timer.create()
        self._epoll = select.epoll()
        self._epoll.register(self._timer, select.EPOLLIN)
        self.fd = self._epoll.fileno()
        if fresh:
            timer.arm(self._timer, self._delay)
        else:
            self._fork("")
        self.look()

    def look(self) -> None:
        """See whether the container is paused: nothing is checked then, and it is unhealthy."""
        paused = os.access(f"{self.run_dir}/{_PAUSED}", os.F_OK)
        if paused == self._paused:
            return
        self._paused = paused
        if paused:
            self._stopped = True
            timer.disarm(self._timer)
            self._give_up()
        elif not self._pid:
            timer.arm(self._timer, self._delay)

    def turn(self) -> None:
        """Do what is due."""
        for fd, _ in self._epoll.poll(0, 2):
            if fd == self._timer:
                timer.clear(fd)
                self.look()
                if not self._paused and not self._pid:
                    self._fork(None)
            elif fd == self._pidfd:
                self._ended()

    def close(self) -> None:
        """Let go of everything. The child that may be at work has a second to end."""
        if self._pid:
            self._give_up()
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            if not poll.poll(_PATIENCE):
                kprocess.pidfd_send_signal(self._pidfd, 9)
            os.waitpid(self._pid, 0)
            os.close(self._pidfd)
        self._epoll.close()
        os.close(self._timer)

    def _fork(self, lost: "str | None") -> None:
        """Have a child make a check, or do what follows from the end of one (``probe.be``)."""
        try:
            ours, theirs = packets.pair()
            pid = os.fork()
        except OSError as error:
            print(f"knarr: {self.run_dir}: health check: {error}", file=sys.stderr)
            timer.arm(self._timer, self._delay)
            return
        if pid == 0:
            probe.be(theirs, self.run_dir, lost, stopped=self._stopped)
        theirs.close()
        self._sock, self._pid, self._pidfd = ours, pid, os.pidfd_open(pid)
        self._epoll.register(self._pidfd, select.EPOLLIN)

    def _give_up(self) -> None:
        """Have the child at work, if there is one, end without a result."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _ended(self) -> None:
        """Take note of the child's end."""
        self._epoll.unregister(self._pidfd)
        os.close(self._pidfd)
        os.waitpid(self._pid, 0)
        self._pid, self._pidfd = 0, -1
        told = b""
        if self._sock is not None:
            told = self._sock.recv(probe.NEXT.size)
            self._give_up()
            if not told:
                self._fork(_KILLED)
                return
            self._stopped = False
            (self._delay,) = probe.NEXT.unpack(told)
        if not self._paused:
            timer.arm(self._timer, self._delay)
