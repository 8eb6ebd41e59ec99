"""How fast a client sends or takes: who is not quite still would else hold a connection for ever.

Only time counts in which the client is waited for; how long the handler or the disk takes is not
the client's.
"""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

from knarr.web.message import Disconnected

if TYPE_CHECKING:
    import socket

    from knarr.web.limits import Limits
    from knarr.web.message import FilePart


class Pace:
    """Measures the body of one request or of its answer."""

    __slots__ = ("_came", "_rate", "_waited", "_window")

    def __init__(self, limits: Limits) -> None:
        self._window = limits.stall_time
        self._rate = limits.slowest
        self._waited = 0.0
        self._came = 0

    def receive(self, link: socket.socket, into: memoryview | bytearray) -> int:
        """Read some bytes, 0 at the end. Raises Disconnected for who is too slow or stops."""
        began = time.monotonic()
        try:
            count = link.recv_into(into)
        except TimeoutError:
            raise Disconnected("the client stopped sending") from None
        self._note(time.monotonic() - began, count)
        return count

    def send(self, link: socket.socket, part: FilePart) -> None:
        """Send a part of a file, by the kernel alone. Raises Disconnected."""
        ready = select.poll()
        ready.register(link, select.POLLOUT)
        done = 0
        while done < part.count:
            began = time.monotonic()
            if not ready.poll(self._window * 1000):
                raise Disconnected("the client stopped reading")
            waited = time.monotonic() - began
            file, offset = part.file.fileno(), part.offset + done
            try:
                sent = os.sendfile(link.fileno(), file, offset, part.count - done)
            except BlockingIOError:  # poll(2) may say so and be wrong
                sent = 0
            else:
                if sent == 0:
                    raise Disconnected("the file became shorter while it was sent")
            done += sent
            self._note(waited, sent)

    def _note(self, waited: float, count: int) -> None:
        self._waited += waited
        self._came += count
        if self._waited >= self._window:
            if self._came < self._rate * self._waited:
                raise Disconnected(f"the client is slower than {self._rate} bytes a second")
            self._waited, self._came = 0.0, 0
