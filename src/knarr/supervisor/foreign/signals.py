"""Signals to a container of another runtime: its ``kill``, one after the other.

What it does with a signal may be more than the kernel would: the process that it shows may
not be the program itself. SIGKILL never comes here. A signal that the runtime does not
deliver is sent to the process that it shows.
"""

import os
import select
import sys
import time

from knarr.kernel import process as kprocess
from knarr.runtime.foreign import REMOVAL, Foreign, kill_session

TYPE_CHECKING = False


class Signals:
    """What one supervisor sends. process: pidfd of the container's. epoll: where it waits."""

    __slots__ = ("_began", "_epoll", "_pid", "_process", "_runtime", "_waiting", "fd")

    def __init__(self, runtime: Foreign, process: int, epoll: "select.epoll") -> None:
        self._runtime, self._process, self._epoll = runtime, process, epoll
        self._waiting: list[int] = []  # the first of them is on its way while there is a child
        self._pid = 0
        self.fd = -1
        self._began = 0.0

    def send(self, number: int) -> None:
        """Have a signal sent after those that wait."""
        self._waiting.append(number)
        if self._pid == 0:
            self._next()
        elif time.monotonic() - self._began > REMOVAL:
            kill_session(self._pid)  # its end is told, and the signal sent otherwise

    def turn(self) -> None:
        """Take note that the runtime has ended."""
        number = self._waiting.pop(0)
        if self._part() != 0:
            print(f"knarr: {self._runtime.name} kill {number}: failed", file=sys.stderr)
            self._send(number)
        self._next()

    def close(self) -> None:
        """Let go of what is not sent yet: the container has ended."""
        self._waiting.clear()
        if self._pid:
            kill_session(self._pid)
            self._part()

    def _part(self) -> int:
        """Wait for the child; return its wait status."""
        self._epoll.unregister(self.fd)
        os.close(self.fd)
        status = os.waitpid(self._pid, 0)[1]
        self._pid, self.fd = 0, -1
        return status

    def _next(self) -> None:
        while self._waiting and self._pid == 0:
            number = self._waiting[0]
            try:
                self._pid = self._runtime.begin("kill", self._runtime.container, str(number))
            except OSError:  # it is not installed any more
                self._send(self._waiting.pop(0))
            else:
                self._began = time.monotonic()
                self.fd = os.pidfd_open(self._pid)
                self._epoll.register(self.fd, select.EPOLLIN)

    def _send(self, number: int) -> None:
        try:
            kprocess.pidfd_send_signal(self._process, number)
        except OSError as error:  # it has ended
            print(f"knarr: signal {number}: {error.strerror}", file=sys.stderr)
