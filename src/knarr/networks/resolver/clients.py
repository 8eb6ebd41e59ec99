"""Clients that ask by TCP: a connection may carry many queries, answered as they are ready."""

import _socket
import os

from knarr.networks.resolver import message
from knarr.networks.resolver.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.networks.resolver.loop import Loop

CONNECTIONS = 128  # of one container
IDLE = 8.0  # seconds without a query
_RESPITE = 1.0  # after a connection could not be taken
_UNSENT = 1 << 18  # bytes that a client may leave unread before its next queries wait
# Bytes of answers that all clients of one container may leave unread: those of servers that were
# asked come later than the look at _UNSENT, up to 64 KiB each.
_ALL_UNSENT = 1 << 23
# Bytes of queries that are taken from a connection before it is others' turn: a dozen.
_CHUNK = 256


class Listener:
    """The TCP socket of one container and its connections.

    ask: called with a query and the function that sends its answer.
    """

    __slots__ = ("_ask", "_loop", "_sock", "_watched", "connections", "unsent")

    def __init__(
        self,
        loop: "Loop",
        sock: "_socket.socket",
        ask: "Callable[[bytes, Callable[[bytes], None]], None]",
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._ask = ask
        self._watched = True
        self.connections: set[Connection] = set()
        self.unsent = 0  # bytes of answers that wait, of all connections
        loop.add(sock.fileno(), self._accept)

    def _accept(self, _: int) -> None:
        try:
            fd, _peer = self._sock._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - the C class has no other name for it
        except BlockingIOError:
            return
        except OSError:
            self._rest()
            self._loop.later(_RESPITE, self._go_on)
            return
        os.set_blocking(fd, False)
        self.connections.add(Connection(self, self._loop, _socket.socket(fileno=fd), self._ask))
        if len(self.connections) >= CONNECTIONS:
            self._rest()

    def _rest(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove(self._sock.fileno())

    def _go_on(self) -> None:
        full = len(self.connections) >= CONNECTIONS
        if not self._watched and not full and self._sock.fileno() >= 0:
            self._watched = True
            self._loop.add(self._sock.fileno(), self._accept)

    def gone(self, connection: "Connection") -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        self._go_on()

    def close(self) -> None:
        """Close everything."""
        self._rest()
        self._sock.close()
        for connection in list(self.connections):
            connection.close()


class Connection:
    """One client."""

    __slots__ = (
        "_ask",
        "_come",
        "_ended",
        "_events",
        "_listener",
        "_loop",
        "_sock",
        "_timer",
        "_unsent",
        "_waiting",
    )

    def __init__(
        self,
        listener: Listener,
        loop: "Loop",
        sock: "_socket.socket",
        ask: "Callable[[bytes, Callable[[bytes], None]], None]",
    ) -> None:
        self._listener = listener
        self._loop = loop
        self._sock = sock
        self._ask = ask
        self._come = bytearray()
        self._unsent = bytearray()
        self._waiting = 0  # queries that have no answer yet
        self._ended = False  # no more queries will come
        self._events = READ
        self._timer = loop.later(IDLE, self._tired)
        loop.add(sock.fileno(), self._ready)

    def _tired(self) -> None:
        if self._waiting:
            self._timer = self._loop.later(IDLE, self._tired)
        else:
            self.close()

    def _ready(self, events: int) -> None:
        try:
            if events & WRITE and self._unsent:
                self._send()
            elif events & READ:
                self._receive()
            elif events & ~(READ | WRITE):
                self.close()
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _receive(self) -> None:
        data = self._sock.recv(_CHUNK)
        if not data:
            self._ended = True
            self._watch()
            return
        self._come += data
        while len(self._come) >= 2 and self._sock.fileno() >= 0:
            size = int.from_bytes(self._come[:2], "big")
            if size > message.QUERY:
                self.close()
                return
            if len(self._come) < size + 2:
                return
            packet = bytes(self._come[2 : size + 2])
            del self._come[: size + 2]
            self._timer.cancel()
            self._timer = self._loop.later(IDLE, self._tired)
            self._waiting += 1
            self._ask(packet, self._answer)

    def _answer(self, answer: bytes) -> None:
        self._waiting -= 1
        if self._sock.fileno() < 0:
            return  # it did not wait
        if not answer:
            self.close()  # what it sent was no query
            return
        self._unsent += len(answer).to_bytes(2, "big") + answer
        self._listener.unsent += len(answer) + 2
        if self._listener.unsent > _ALL_UNSENT:
            self.close()
            return
        try:
            self._send()
        except BlockingIOError:
            self._watch()
        except OSError:
            self.close()

    def _send(self) -> None:
        sent = self._sock.send(self._unsent)
        del self._unsent[:sent]
        self._listener.unsent -= sent
        self._watch()

    def _watch(self) -> None:
        """Wait for what can go on: with much unsent, no more queries are taken."""
        events = WRITE if self._unsent else 0
        if self._ended:
            if not events and not self._waiting:
                self.close()
                return
        elif len(self._unsent) < _UNSENT:
            events |= READ
        if events != self._events:
            self._events = events
            self._loop.change(self._sock.fileno(), events)

    def close(self) -> None:
        """Close the connection; answers that are still to come find nobody."""
        if self._sock.fileno() < 0:
            return
        self._timer.cancel()
        self._loop.remove(self._sock.fileno())
        self._sock.close()
        self._listener.unsent -= len(self._unsent)
        self._unsent.clear()
        self._listener.gone(self)
