"""``attach``: a client's end of the socket on which a supervisor serves one container.

Each packet is one type byte and a payload (SOCK_SEQPACKET keeps them apart).
From the supervisor: ``s`` hello, ``o`` stdout, ``e`` stderr, ``w`` bytes of stdin
taken, ``x`` exit status, last.
To it: ``i`` stdin, ``c`` close stdin, ``r`` window size, ``k`` signal, ``h`` paused or not,
``q`` exit seen.
"""

from __future__ import annotations

import _socket
import json
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from knarr import errors
from knarr.closing import Closing
from knarr.engine import serial
from knarr.engine.model import ExitStatus
from knarr.supervisor import rundir

CHUNK = 32768  # of stdin per packet: far below the socket's buffer, so one always fits
WINDOW = 512 * 1024  # of stdin that the container has not read yet; then we wait
_PACKET = 1 << 20


class Attachment(Closing):
    """A connection to a container's stdio; also its signals, its window size and its exit.

    Reads are for one thread at a time; everything that sends may be called
    from any thread and from signal handlers.
    """

    def __init__(self, connection: _socket.socket, container_id: str) -> None:
        self.container_id = container_id
        self._socket = connection
        self._stashed: deque[bytes] = deque()
        self._reading = threading.Lock()
        self._window = threading.Condition(threading.Lock())
        self._outstanding = 0
        self._reset = False
        self.status: ExitStatus | None = None
        self.acknowledged = False
        # Called with each signal before it is sent, by whose events it is told.
        self.on_signal: Callable[[int], None] | None = None

    @classmethod
    def connect(cls, path: str, container_id: str) -> Attachment:
        """Return an attachment to a running supervisor. Raises Unavailable when none listens."""
        try:
            connection = rundir.connect(*os.path.split(path))
        except OSError as error:
            raise errors.Unavailable(
                f"container {container_id[:12]}: its supervisor does not answer: {error.strerror}"
            ) from error
        return cls(connection, container_id)

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._socket.fileno()

    def receive(self, timeout: float | None = None) -> tuple[str, bytes] | None:
        """Return the next packet as (type, payload), None at the end of the connection.

        timeout in seconds. Raises Timeout. An ``x`` packet also sets ``status``.
        """
        if timeout is not None and not self.ready(timeout):
            raise errors.Timeout(f"container {self.container_id[:12]}: nothing came in time")
        with self._reading:
            packet = self._stashed.popleft() if self._stashed else self._receive()
        if not packet:
            return None
        kind = chr(packet[0])
        if kind == "x":
            self.status = exit_status(json.loads(packet[1:]))
        return kind, packet[1:]

    def _receive(self) -> bytes:
        """Return the next packet from the socket, nothing at its end; take note of ``w``."""
        try:
            packet = self._socket.recv(_PACKET)
        except (ConnectionResetError, BrokenPipeError):
            packet = b""  # the supervisor died
            self._reset = True
        with self._window:
            if packet[:1] == b"w":
                self._outstanding -= int(packet[1:])
            elif not packet or packet[:1] == b"x":
                self._outstanding = 0  # nobody will read what is still on its way
            self._window.notify_all()
        return packet

    def ready(self, timeout: float | None, *, writing: bool = False) -> bool:
        """Return True as soon as a packet waits (or, ``writing``, one can be sent), else False.

        timeout: seconds, None without end.
        """
        if self._stashed:
            return True
        poller = select.poll()
        poller.register(self._socket, select.POLLIN | (select.POLLOUT if writing else 0))
        return bool(poller.poll(None if timeout is None else max(timeout, 0) * 1000))

    def output(self, timeout: float | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield (1 or 2, bytes) of stdout and stderr until the container ends.

        timeout: seconds for all of it. Raises Timeout. Afterwards ``status`` is
        set, unless the supervisor died before the container did.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.status is None:
            left = None if deadline is None else deadline - time.monotonic()
            packet = self.receive(left)
            if packet is None:
                return
            if packet[0] == "o":
                yield 1, packet[1]
            elif packet[0] == "e":
                yield 2, packet[1]

    def wait(self, timeout: float | None = None) -> ExitStatus | None:
        """Return how the container ended, reading past its output; None when the supervisor died.

        Raises Timeout.
        """
        for _ in self.output(timeout):
            continue
        return self.status

    def write(self, data: bytes) -> None:
        """Send to the container's stdin; waits while it does not read what was sent before.

        Output that comes meanwhile is kept for the next ``receive``.
        """
        for start in range(0, len(data), CHUNK):
            chunk = data[start : start + CHUNK]
            while not self.try_write(chunk):
                if not self._reading.acquire(blocking=False):
                    with self._window:  # another thread reads and will see the room made
                        self._window.wait_for(self._has_room, 1.0)
                    continue
                try:
                    # Room may have been made just now; then nothing needs to come any more.
                    if not self._has_room() or self._comes_before_room():
                        self._stashed.append(self._receive())
                finally:
                    self._reading.release()

    def try_write(self, data: bytes) -> bool:
        """Send at most CHUNK bytes without waiting; False when the container has not read enough.

        Room is made by reading: ``receive`` sees what the container took.
        """
        with self._window:
            if not self._has_room():
                return False
            self._outstanding += len(data)
        try:
            self._socket.send(b"i" + data, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            with self._window:
                self._outstanding -= len(data)
            return False
        except (BrokenPipeError, ConnectionResetError):
            return True  # ended; its exit status is still to be read
        return True

    def _comes_before_room(self) -> bool:
        """Wait until a packet comes or one can be sent, at most a second; True when one came."""
        poller = select.poll()
        poller.register(self._socket, select.POLLIN | select.POLLOUT)
        return any(events & ~select.POLLOUT for _, events in poller.poll(1000))

    def _has_room(self) -> bool:
        return self._outstanding < WINDOW

    def close_stdin(self) -> None:
        """Let the container read the end of its stdin."""
        self._send(b"c")

    def try_close_stdin(self) -> bool:
        """Close stdin without waiting; False when the connection is full just now."""
        try:
            self._socket.send(b"c", _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            self._reset = True
        return True

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the container's terminal, in characters."""
        self._send(b"r" + json.dumps([rows, columns]).encode())

    def signal(self, number: int) -> None:
        """Send a signal to the container's first process."""
        if self.on_signal is not None:
            self.on_signal(number)
        self._send(b"k" + str(number).encode())

    def look(self) -> None:
        """Have the supervisor see whether the container is paused."""
        self._send(b"h")

    def limited(self) -> None:
        """Have the supervisor tell of out-of-memory kills when they happen, if it does not yet."""
        self._send(b"m")

    def acknowledge(self) -> None:
        """Tell the supervisor that this client saw the exit and does what follows from it."""
        self.acknowledged = True
        self._send(b"q")

    def settle(self) -> bool:
        """Send no more; return True when the supervisor has done all that was sent.

        False when it died with something unread, which the kernel tells by a reset.
        """
        try:
            self._socket.shutdown(_socket.SHUT_WR)
        except OSError:
            return False
        while self.receive() is not None:
            continue
        return self.status is not None or not self._reset

    def close(self) -> None:
        """Close the connection; the container goes on, unless it was started to die with it."""
        self._socket.close()

    def _send(self, packet: bytes) -> None:
        try:
            self._socket.send(packet, _socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            self._reset = True  # container or supervisor ended: the reading side tells which


def exit_status(value: dict[str, Any]) -> ExitStatus:
    """Return the ExitStatus of an ``x`` packet or a state file."""
    return ExitStatus(
        exit_code=int(value.get("exit_code") or 0),
        oom_killed=bool(value.get("oom_killed")),
        error=str(value.get("error") or ""),
        usage=serial.usage(value.get("usage")),
    )
