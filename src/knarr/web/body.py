"""Bodies of requests, read as they come.

A body with a length is read from the socket into the reader's own buffer: h11 has seen only
the head of it. A chunked one goes through h11.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import h11

from knarr.web.message import BadRequest, Disconnected

if TYPE_CHECKING:
    import socket

    from knarr.web.pace import Pace

_CHUNK = 256 * 1024


class Body(Protocol):
    """What a handler reads a request's body from.

    length: in bytes, None for a chunked body. broken: its end cannot be found any more.
    """

    length: int | None
    broken: bool

    @property
    def finished(self) -> bool:
        """Whether all of it has been read."""
        ...

    @property
    def awaited(self) -> bool:
        """Whether the client sends it only when asked to (Expect: 100-continue)."""
        ...

    def readinto(self, into: memoryview) -> int:
        """Read some bytes, 0 at the end. Raises Disconnected, BadRequest."""
        ...

    def rest(self) -> bytes:
        """Return what came after the body, once it is finished."""
        ...


def read(body: Body, limit: int) -> bytes | None:
    """Return a whole body, None when it is longer than ``limit`` bytes."""
    if body.length is not None and body.length > limit:
        return None
    buffer = bytearray()
    room = memoryview(bytearray(min(limit + 1, _CHUNK)))
    while count := body.readinto(room):
        buffer += room[:count]
        if len(buffer) > limit:
            return None
    return bytes(buffer)


def drain(body: Body, limit: int, seconds: float) -> bool:
    """Read and forget what is left of a body; return whether its end came within the limits."""
    room = memoryview(bytearray(64 * 1024))
    end = time.monotonic() + seconds
    while limit > 0 and time.monotonic() < end:
        count = body.readinto(room)
        if count == 0:
            return True
        limit -= count
    return body.finished


class LengthBody:
    """A body of a length told in advance; also the empty one."""

    def __init__(
        self,
        link: socket.socket,
        pace: Pace,
        early: bytes,
        length: int,
        ask: Callable[[], None] | None,
    ) -> None:
        """``early``: bytes that came with the head. ``ask``: sends 100 Continue."""
        self.length: int | None = length
        self.broken = False
        self._link = link
        self._pace = pace
        self._early = memoryview(early)[:length]
        self._after = early[length:]
        self._left = length
        self._ask = None if early else ask

    @property
    def finished(self) -> bool:
        """Whether all of it has been read."""
        return self._left == 0

    @property
    def awaited(self) -> bool:
        """Whether the client has still to be asked for it."""
        return self._ask is not None

    def readinto(self, into: memoryview) -> int:
        """Read some bytes, 0 at the end. Raises Disconnected."""
        if self._left == 0:
            return 0
        if self._early:
            count = min(len(into), len(self._early))
            into[:count] = self._early[:count]
            self._early = self._early[count:]
        else:
            count = self._receive(into[: self._left])
        self._left -= count
        return count

    def _receive(self, into: memoryview) -> int:
        if self._ask is not None:
            self._ask()
            self._ask = None
        count = self._pace.receive(self._link, into)
        if count == 0:
            raise Disconnected(f"the client is gone, {self._left} bytes before the end")
        return count

    def rest(self) -> bytes:
        """Return what came after the body."""
        return self._after


class ChunkedBody:
    """A body in chunks (RFC 9112, 7.1); trailers are read and forgotten."""

    def __init__(
        self,
        link: socket.socket,
        pace: Pace,
        parser: h11.Connection,
        ask: Callable[[], None] | None,
    ) -> None:
        self.length: int | None = None
        self.broken = False
        self._link = link
        self._pace = pace
        self._parser = parser
        self._ask = ask
        self._piece = memoryview(b"")
        self._finished = False
        self._room = bytearray(_CHUNK)

    @property
    def finished(self) -> bool:
        """Whether all of it has been read."""
        return self._finished and not self._piece

    @property
    def awaited(self) -> bool:
        """Whether the client has still to be asked for it."""
        return self._ask is not None and self._parser.they_are_waiting_for_100_continue

    def readinto(self, into: memoryview) -> int:
        """Read some bytes, 0 at the end. Raises Disconnected, BadRequest."""
        while not self._piece and not self._finished:
            self._next()
        count = min(len(into), len(self._piece))
        into[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def _next(self) -> None:
        try:
            event = self._parser.next_event()
        except h11.RemoteProtocolError as error:
            self.broken = True
            raise BadRequest(str(error), error.error_status_hint) from None
        if event is h11.NEED_DATA:
            if self.awaited and self._ask is not None:
                self._ask()
            self._ask = None
            count = self._pace.receive(self._link, self._room)
            if count == 0:
                raise Disconnected("the client is gone before the end of its chunks")
            self._parser.receive_data(memoryview(self._room)[:count])  # type: ignore[arg-type]
        elif isinstance(event, h11.Data):
            self._piece = memoryview(event.data)
        else:
            self._finished = True

    def rest(self) -> bytes:
        """Return what came after the body."""
        return self._parser.trailing_data[0]
