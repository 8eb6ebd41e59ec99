"""An exec's terminal as a connection that the foreground loop can relay."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

from knarr.engine.model import ExitStatus

if TYPE_CHECKING:
    from knarr.engine.execs import ExecSession

_CHUNK = 65536


class ExecTerminal:
    """Reads and writes the terminal's master; the session tells when the command ended."""

    def __init__(self, session: ExecSession) -> None:
        self.status: ExitStatus | None = None
        self._session = session
        self._master = session.master
        self._open = True
        self._ready = select.epoll()
        os.set_blocking(self._master, False)
        self._ready.register(self._master, select.EPOLLIN)
        self._ready.register(session.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is output or the end."""
        return self._ready.fileno()

    def stdin_fileno(self) -> int:
        """Return the descriptor that is writable when typed bytes are taken."""
        return self._master

    def receive(self) -> tuple[str, bytes] | None:
        """Return the next output; None once the command has ended and all was read.

        Raises Unavailable when the process that watches the command was killed.
        """
        data = self._read()
        if data:
            return "o", data
        if any(fd == self._session.fileno() for fd, _ in self._ready.poll(0)):
            self.status = ExitStatus(self._session.wait())
            data = self._read()  # what came between the last read and the end
            return ("o", data) if data else None
        return "o", b""

    def _read(self) -> bytes:
        if not self._open:
            return b""
        try:
            data = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""  # EIO: nobody has the terminal open any more
        if not data:
            self._open = False
            self._ready.unregister(self._master)
        return data

    def try_write(self, data: bytes) -> bool:
        """Send typed bytes; False when the terminal takes none now. A part counts as none."""
        try:
            written = os.write(self._master, data)
        except BlockingIOError:
            return False
        except OSError:
            return True  # it has ended; that is still to be read
        return written == len(data) or self._rest(data[written:])

    def _rest(self, data: bytes) -> bool:
        """Wait for room for what is left of a write that was taken in part."""
        poll = select.poll()
        poll.register(self._master, select.POLLOUT)
        while data:
            poll.poll()
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                continue
            except OSError:
                break  # as in ``try_write``
        return True

    def try_close_stdin(self) -> bool:
        """Type the end of file: a terminal cannot be closed from this side alone."""
        return self.try_write(b"\x04")

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the terminal in characters."""
        self._session.resize(rows, columns)

    def signal(self, number: int) -> None:
        """Send a signal to the command."""
        self._session.signal(number)

    def close(self) -> None:
        """Let go; the command goes on if it still runs."""
        self._ready.close()
