"""Asking the servers that a container has: one exchange for each query that is not ours to answer.

As Docker does it: the first three servers, four seconds each; one that fails or refuses is
passed over; the answer goes to the client as it came. Datagrams are asked with datagrams and
connections with connections. Each exchange has a socket, and so a port, of its own.
"""

import _socket
import errno
import os

from knarr.networks.resolver import message
from knarr.networks.resolver.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from knarr.networks.resolver.loop import Loop, Timer
    from knarr.networks.resolver.places import Places

SERVERS = 3
PATIENCE = 4.0  # seconds for each server
OUTSTANDING = 1024  # queries of one container
OWN = "127.0.0.11"
_PORT = 53
_UDP = _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
_TCP = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
_DOWN = (message.SERVFAIL, message.REFUSED)


class Server:
    """One server. host: it is asked from the host's namespace, not from the container's."""

    __slots__ = ("address", "family", "host", "port", "zone")

    def __init__(self, told: "dict[str, Any]") -> None:
        """Raises KeyError, TypeError, ValueError, OSError for what is no server."""
        text, _, self.zone = str(told["address"]).partition("%")
        self.family = _socket.AF_INET6 if ":" in text else _socket.AF_INET
        _socket.inet_pton(self.family, text)
        self.address = text
        self.port = int(told.get("port") or _PORT)
        self.host = bool(told.get("host"))

    def connect(self, kind: int) -> "_socket.socket":
        """Return a socket that is connected, or about to be. Raises OSError."""
        where: tuple[Any, ...] = (self.address, self.port)
        if self.zone:
            where = (*where, 0, _socket.if_nametoindex(self.zone))
        sock = _socket.socket(self.family, kind)
        try:
            sock.connect(where)
        except BlockingIOError:
            return sock
        except OSError:
            sock.close()
            raise
        return sock


def servers(told: "list[Any]") -> "list[Server]":
    """Return the servers to ask; our own address, in the container, would lead back to us."""
    found = [Server(each) for each in told]
    return [each for each in found if each.host or each.address != OWN][:SERVERS]


class Asker:
    """What an exchange needs to know of a container: its servers, its namespace, its limit."""

    __slots__ = ("exchanges", "internal", "loop", "namespace", "places", "servers")

    def __init__(self, loop: "Loop", places: "Places", namespace: int) -> None:
        self.loop = loop
        self.places = places
        self.namespace = namespace
        self.servers: list[Server] = []
        # It has no way out: what the host can reach is not for it either.
        self.internal = False
        self.exchanges: set[Exchange] = set()

    def forward(
        self, query: message.Query, reply: "Callable[[bytes], None]", *, stream: bool
    ) -> None:
        """Have ``reply`` called with the answer of a server, or with a failure; perhaps at once."""
        if len(self.exchanges) >= OUTSTANDING:
            reply(message.failed(query, message.REFUSED))
            return
        exchange = (Stream if stream else Datagram)(self, query, reply)
        self.exchanges.add(exchange)
        exchange.next()

    def open(self, server: Server, kind: int) -> "_socket.socket":
        """Return a socket to a server, made in the right namespace. Raises OSError."""
        if server.host:
            return server.connect(kind)
        return self.places.inside(self.namespace, lambda: server.connect(kind))

    def close(self) -> None:
        """Give all exchanges up; nobody is left to be told."""
        for exchange in list(self.exchanges):
            exchange.stop()
        self.exchanges.clear()


class Exchange:
    """A query on its way to one server after the other."""

    kind = _UDP

    __slots__ = ("asker", "left", "number", "query", "reply", "sock", "timer")

    def __init__(
        self, asker: Asker, query: message.Query, reply: "Callable[[bytes], None]"
    ) -> None:
        self.asker = asker
        self.query = query
        self.reply = reply
        self.left = [each for each in asker.servers if not (each.host and asker.internal)]
        self.number = b""
        self.sock: _socket.socket | None = None
        self.timer: Timer | None = None

    def next(self, _: int = 0) -> None:
        """Ask the next server, or tell that none had an answer."""
        self.stop()
        asker = self.asker
        while self.left:
            server = self.left.pop(0)
            self.number = os.urandom(2)
            try:
                self.sock = asker.open(server, self.kind)
                self.begin(self.sock)
            except OSError as error:
                self.stop()
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                    self.end(message.failed(self.query, message.REFUSED))
                    return
                continue
            self.timer = asker.loop.later(PATIENCE, self.next)
            return
        self.end(message.failed(self.query))

    def begin(self, sock: "_socket.socket") -> None:
        """Send the query, and wait for what comes. Raises OSError."""
        sock.send(self.number + self.query.raw[2:])
        self.asker.loop.add(sock.fileno(), self.readable)

    def readable(self, _: int) -> None:
        """Take a datagram; what is no answer to this query is not even counted."""
        assert self.sock is not None
        try:
            reply = self.sock.recv(message.LARGEST)
        except BlockingIOError:
            return
        except OSError:
            self.next()  # nobody there: the kernel was told
            return
        self.take(reply)

    def take(self, reply: bytes) -> None:
        """Look at an answer and pass it on, or ask the next server."""
        if not message.belongs(reply, self.query, self.number):
            return
        if message.code(reply) in _DOWN:
            self.next()
            return
        self.end(self.query.number + reply[2:])

    def end(self, reply: bytes) -> None:
        """Tell the client, and be forgotten."""
        self.stop()
        self.asker.exchanges.discard(self)
        self.reply(reply)

    def stop(self) -> None:
        """Let go of the socket and the timer."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.sock is not None:
            self.asker.loop.remove(self.sock.fileno())
            self.sock.close()
            self.sock = None


class Datagram(Exchange):
    """By UDP."""

    __slots__ = ()


class Stream(Exchange):
    """By TCP: two bytes of length before each message (RFC 1035, 4.2.2)."""

    kind = _TCP

    __slots__ = ("_come", "_unsent")

    def begin(self, sock: "_socket.socket") -> None:
        """Wait until the connection is there."""
        body = self.number + self.query.raw[2:]
        self._unsent = len(body).to_bytes(2, "big") + body
        self._come = bytearray()
        self.asker.loop.add(sock.fileno(), self._ready, WRITE)

    def _ready(self, _: int) -> None:
        assert self.sock is not None
        try:
            if self._unsent:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
                if not self._unsent:
                    self.asker.loop.change(self.sock.fileno(), READ)
                return
            data = self.sock.recv(message.LARGEST + 2)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.next()
            return
        self._come += data
        size = int.from_bytes(self._come[:2], "big") + 2
        if len(self._come) >= max(size, 2 + message.HEADER):
            reply = bytes(self._come[2:size])
            if message.belongs(reply, self.query, self.number):
                self.take(reply)
            else:
                self.next()
