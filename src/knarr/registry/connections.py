"""Connections that are kept: one request at a time on each, many at once on several."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
from functools import partial
from typing import NamedTuple

from knarr.errors import InvalidArgument, Unavailable
from knarr.registry import names
from knarr.registry.endpoint import Tls
from knarr.registry.patience import Patience
from knarr.registry.proxies import Proxies

# Idle connections kept to one server.
_KEPT = 6
# Heads of one answer: nobody asks for a 100 Continue, and http.client reads any number of them.
_HEADS = 8


class Place(NamedTuple):
    """What a connection leads to, and in how many seconds (0.0: the usual)."""

    scheme: str
    host: str
    port: int
    tls: Tls
    connect: float = 0.0


class Connection:
    """One connection; ``fresh`` until it has carried a request."""

    def __init__(self, place: Place, raw: http.client.HTTPConnection, via_proxy: bool) -> None:
        self.place = place
        self.raw = raw
        self.fresh = True
        self.via_proxy = via_proxy
        self.proxy_authorization: str | None = None

    def has_ended(self) -> bool:
        """Return whether the server has closed it since, or said what nobody asked for."""
        handle = self.raw.sock
        if handle is None:
            return True
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(0))

    def break_off(self) -> None:
        """End it from another thread: whoever waits for its bytes gets an error at once."""
        handle = self.raw.sock
        if handle is not None:
            try:
                handle.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended already


class _Answer(http.client.HTTPResponse):
    """An answer before which there may be so many others that only say 100 Continue."""

    def _read_status(self) -> tuple[str, int, str]:
        self._heads = getattr(self, "_heads", 0) + 1
        if self._heads > _HEADS:
            raise http.client.BadStatusLine("100 Continue, without an end")
        found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
        return found


class Connections:
    """The connections of one command. Safe for threads; after ``close`` there are no more."""

    def __init__(self, proxies: Proxies, patience: Patience) -> None:
        self._proxies = proxies
        self._patience = patience
        self._idle: dict[Place, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._contexts: dict[Tls, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self.closed = threading.Event()

    def take(self, place: Place, *, new: bool = False) -> Connection:
        """Return a connection to there, an idle one unless ``new``. Raises InvalidArgument."""
        with self._lock:
            if self.closed.is_set():
                raise Unavailable(f"{place.host}: given up")
            idle = self._idle.get(place, [])
            found = None
            while idle and not new and found is None:
                found = idle.pop()
                if found.has_ended():
                    found.raw.close()
                    found = None
            if found is None:
                found = self._make(place)
            self._busy.add(found)
        return found

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end, for the next request."""
        connection.fresh = False
        with self._lock:
            self._busy.discard(connection)
            idle = self._idle.setdefault(connection.place, [])
            if not self.closed.is_set() and len(idle) < _KEPT:
                idle.append(connection)
                return
        connection.raw.close()

    def drop(self, connection: Connection) -> None:
        """Close a connection that cannot be used again."""
        with self._lock:
            self._busy.discard(connection)
        connection.raw.close()

    def close(self) -> None:
        """Close what is idle and break off what is not; who waits for bytes gets an error."""
        self.closed.set()
        with self._lock:
            idle = [each for some in self._idle.values() for each in some]
            self._idle.clear()
            busy = list(self._busy)
        for each in idle:
            each.raw.close()
        for each in busy:
            each.break_off()

    def _make(self, place: Place) -> Connection:
        proxy = self._proxies.to(place.scheme, place.host, place.port)
        timeout = self._patience.stall
        where = (place.host, place.port) if proxy is None else (proxy.host, proxy.port)
        raw: http.client.HTTPConnection
        if place.scheme == "https":
            raw = http.client.HTTPSConnection(
                *where, timeout=timeout, context=self._context(place.tls)
            )
            if proxy is not None:
                headers = (
                    {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
                )
                raw.set_tunnel(place.host, place.port, headers)
        else:
            raw = http.client.HTTPConnection(*where, timeout=timeout)
        raw.response_class = _Answer
        # Its own way to connect, so that connecting has less time than the first byte.
        raw._create_connection = partial(self._connect, place.connect)  # type: ignore[attr-defined]  # noqa: SLF001
        made = Connection(place, raw, proxy is not None and place.scheme == "http")
        if proxy is not None:
            made.proxy_authorization = proxy.authorization
        return made

    def _connect(
        self,
        within: float,
        address: tuple[str, int],
        timeout: float,
        source: tuple[str, int] | None,
    ) -> socket.socket:
        made = socket.create_connection(address, within or self._patience.connect, source)
        peer = _peer(made)
        # Such a name is spoken to without TLS, and not every resolver keeps it on this machine.
        if names.is_loopback(address[0]) and not names.is_loopback(peer):
            made.close()
            raise Unavailable(f"{address[0]} is at {peer}, which is not this machine")
        made.settimeout(timeout)
        return made

    def _context(self, tls: Tls) -> ssl.SSLContext:
        found = self._contexts.get(tls)
        if found is None:
            found = self._contexts[tls] = _context(tls)
        return found


def _peer(link: socket.socket) -> str:
    """Return the address that a connection leads to."""
    return str(link.getpeername()[0])


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        for path in tls.authorities:
            context.load_verify_locations(path)
        for certificate, key in tls.clients:
            context.load_cert_chain(certificate, key or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join((*tls.authorities, *(path for pair in tls.clients for path in pair)))
        raise InvalidArgument(f"certificates {files}: {error}") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
