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
        "_delay", "_epoll", "_interval", "_mends", "_paused", "_pid", "_pidfd", "_sock", "_stopped",
        "_timer", "fd", "run_dir",
    )  # fmt: skip

    def __init__(self, run_dir: str, *, fresh: bool) -> None:
        """Begin. fresh: the container was started now, not taken over. Raises OSError, ValueError.

        Else a child finds out how far the checks are, and takes away what is left of one.
        """
        self.run_dir = run_dir
        self._pid, self._pidfd = 0, -1
        self._sock: _socket.socket | None = None
        # stopped: of that a child has not been told yet. mends: the child does not check.
        self._paused = self._stopped = self._mends = False
        first, usual = states.read_body(run_dir, healthstate.CHECK).partition(b"\n")[0].split()
        self._delay, self._interval = int(first), int(usual)
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
        """Take note of a pause or its end: nothing is checked meanwhile, and it is unhealthy."""
        paused = self._stands_still()
        if paused == self._paused:
            return
        self._paused = paused
        if paused:
            self._stopped, self._delay = True, self._interval
            timer.disarm(self._timer)
            if self._pid:
                self._give_up()
            else:
                self._fork("")
        elif not self._pid:
            timer.arm(self._timer, self._delay)

    def turn(self) -> None:
        """Do what is due."""
        for fd, _ in self._epoll.poll(0, 2):
            if fd == self._timer:
                timer.clear(fd)
                self._due()
            elif fd == self._pidfd:
                self._ended()

    def close(self) -> None:
        """Let go of everything. The child that may be at work has a second to end."""
        if self._pid:
            self._give_up()
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            if poll.poll(_PATIENCE):
                os.waitpid(self._pid, 0)
            else:  # it is waited for once everybody has been told of the container's end
                kprocess.pidfd_send_signal(self._pidfd, 9)
            os.close(self._pidfd)
        self._epoll.close()
        os.close(self._timer)

    def _stands_still(self) -> bool:
        return os.access(f"{self.run_dir}/{_PAUSED}", os.F_OK)

    def _due(self) -> None:
        """Have the container checked, unless it stands still for a moment that is not told."""
        if self._paused or self._pid:
            return
        if self._stands_still():
            timer.arm(self._timer, self._delay)
        else:
            self._fork(None)

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
        ours.setblocking(False)
        self._mends = lost is not None
        self._sock, self._pid, self._pidfd = ours, pid, os.pidfd_open(pid)
        self._epoll.register(self._pidfd, select.EPOLLIN)

    def _give_up(self) -> None:
        """Have the child at work, if there is one, end without a result."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    @staticmethod
    def _told(sock: "_socket.socket") -> bytes:
        """Return what the ended child has said, nothing when it was killed."""
        try:
            return sock.recv(probe.NEXT.size)
        except BlockingIOError:
            return b""  # what it was about to start has the other end, for a moment

    def _ended(self) -> None:
        """Take note of the child's end."""
        self._epoll.unregister(self._pidfd)
        os.close(self._pidfd)
        os.waitpid(self._pid, 0)
        self._pid, self._pidfd = 0, -1
        if self._sock is not None:
            told = self._told(self._sock)
            self._give_up()
            if told:
                self._stopped = False
                (self._delay,) = probe.NEXT.unpack(told)
            elif not self._mends:
                self._fork(_KILLED)
                return
        elif self._stopped:
            self._fork("")
            return
        if not self._paused:
            timer.arm(self._timer, self._delay)
