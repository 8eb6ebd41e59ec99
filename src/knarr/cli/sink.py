"""Output descriptors of the caller, written without ever waiting in write(2).

The descriptors belong to the caller's shell as much as to us, so their flags
stay as they are: a pipe or a terminal is opened a second time, non-blocking,
through /proc; a socket is sent to with MSG_DONTWAIT; a file never makes anyone
wait.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable


class Sink:
    """One output; ``pending`` is what could not be written yet."""

    def __init__(self, fd: int) -> None:
        """Take descriptor ``fd``, which stays open when the sink is closed."""
        self.fd = fd
        self.pending: memoryview[int] = memoryview(b"")
        self._own = -1
        self._socket: socket.socket | None = None
        self._write: Callable[[memoryview[int]], int] = self._write_file
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(fd))
            self._write = self._write_socket
        elif stat.S_ISFIFO(mode) or os.isatty(fd):
            self._open_again()

    def _open_again(self) -> None:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            self._own = os.open(f"/proc/self/fd/{self.fd}", flags)
        except OSError:  # not ours to open: of another user, or without /proc
            self._write = self._write_little
        else:
            self.fd = self._own

    def _write_file(self, data: memoryview[int]) -> int:
        return os.write(self.fd, data)

    def _write_little(self, data: memoryview[int]) -> int:
        """Write what a pipe that poll(2) calls writable takes without waiting: PIPE_BUF bytes."""
        return os.write(self.fd, data[:4096])

    def _write_socket(self, data: memoryview[int]) -> int:
        assert self._socket is not None
        return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    @property
    def must_poll(self) -> bool:
        """Return whether writing needs poll(2) to say that it will not wait."""
        return self._write == self._write_little

    def put(self, data: bytes) -> None:
        """Take ``data`` and write what goes now. Raises OSError (BrokenPipeError: nobody reads)."""
        self.pending = memoryview(data)
        if not self.must_poll:
            self.flush()

    def flush(self) -> None:
        """Write what goes now of what is pending. Raises OSError."""
        while self.pending:
            try:
                written = self._write(self.pending)
            except BlockingIOError:
                return
            self.pending = self.pending[written:]
            if self.must_poll:
                return

    def close(self) -> None:
        """Close what was opened here, never the caller's descriptor."""
        if self._own >= 0:
            os.close(self._own)
            self._own = -1
        if self._socket is not None:
            self._socket.close()
