"""Accepts connections, gives each a thread, and ends them in order.

When all connections are taken, the one that has been idle longest makes room; where none is idle,
newcomers wait in the kernel. ``stop`` may be called from a signal handler: it only writes to a
pipe.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from knarr.closing import Closing
from knarr.web.connection import Connection, Handler, Observer
from knarr.web.limits import Limits

_log = logging.getLogger(__name__)
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_QUIET = 60.0  # seconds between two warnings of a client that wants too much
_LAST = 5.0  # seconds for handlers to notice that their connection was ended


class _Guest:
    """One connection of the server: its socket, and since when it has been idle (None: busy).

    whose: what all connections of one client have in common, "" for unix sockets.
    """

    def __init__(self, link: socket.socket, whose: str) -> None:
        self.link = link
        self.whose = whose
        self.idle_since: float | None = None


class Server(Closing):
    """An HTTP server on sockets that listen already; use as a context manager."""

    def __init__(
        self,
        handler: Handler,
        listeners: Sequence[socket.socket],
        *,
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        observer: Observer | None = None,
    ) -> None:
        """The sockets belong to the server from here on. tls: for all but unix sockets."""
        self._handler = handler
        self._listeners = list(listeners)
        for each in self._listeners:
            each.setblocking(False)  # a connection may be gone again before it is accepted
        self._tls = tls
        self._limits = limits or Limits()
        self._observer = observer
        self._guests: set[_Guest] = set()
        self._warned = -_QUIET
        self._changed = threading.Condition()
        self._ending = False
        self._not_serving = threading.Event()
        self._not_serving.set()
        self._ears, self._mouth = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    @property
    def addresses(self) -> list[str]:
        """Return where the server listens: HOST:PORT or a path."""
        return [_name(each.getsockname()) for each in self._listeners]

    def stop(self) -> None:
        """Have ``serve`` return; may be called from anywhere, also from a signal handler."""
        with suppress(OSError):
            os.write(self._mouth, b"s")

    def serve(self) -> None:
        """Accept connections until ``stop`` is called."""
        self._not_serving.clear()
        try:
            self._serve()
        finally:
            self._not_serving.set()

    def _serve(self) -> None:
        waiting = select.poll()
        waiting.register(self._ears, select.POLLIN)
        by_fd = {each.fileno(): each for each in self._listeners}
        for fd in by_fd:
            waiting.register(fd, select.POLLIN)
        while True:
            ready = waiting.poll()
            for fd, _ in ready:
                if fd == self._ears:
                    if b"s" in os.read(self._ears, 64):
                        return
                else:
                    self._make_room()
                    self._accept(by_fd[fd])

    def finish(self, grace: float) -> None:
        """Take no more connections, and let requests under way end for ``grace`` seconds."""
        self.stop()
        self._not_serving.wait()
        for each in self._listeners:
            if grace:
                self._accept_the_last(each)
            self._close_listener(each)
        self._listeners = []
        with self._changed:
            self._ending = True
            for guest in self._guests:
                if guest.idle_since is not None and not _readable(guest.link.fileno()):
                    _shut(guest.link, socket.SHUT_RD)
            self._changed.wait_for(lambda: not self._guests, grace)

    def close(self) -> None:
        """End all connections; ``finish`` before it lets requests end by themselves."""
        self.finish(0)
        with self._changed:
            for guest in self._guests:
                _shut(guest.link, socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._guests, _LAST)
        for fd in (self._ears, self._mouth):
            if fd >= 0:
                os.close(fd)
        self._ears = self._mouth = -1

    def _accept_the_last(self, listener: socket.socket) -> None:
        """Take the connections that the kernel has made already: the close would reset them."""
        while _readable(listener.fileno()) and self._has_room():
            self._accept(listener)

    def _has_room(self) -> bool:
        with self._changed:
            return len(self._guests) < self._limits.connections

    def _close_listener(self, listener: socket.socket) -> None:
        name = listener.getsockname()
        listener.close()
        if isinstance(name, str) and name.startswith("/"):
            with suppress(OSError):
                os.unlink(name)

    # --- connections ----------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Return when another connection may come; an idle one is ended for it."""
        with self._changed:
            while len(self._guests) >= self._limits.connections:
                _end_oldest(self._guests)
                # Wakes up now and then: ``stop`` cannot notify a condition from a signal handler.
                self._changed.wait(0.5)
                if _readable(self._ears):
                    return

    def _accept(self, listener: socket.socket) -> None:
        try:
            link, peer = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # gone again, or no descriptor is left for now
            _log.warning("a connection could not be accepted: %s", error.strerror)
            if error.errno in _FULL:
                with self._changed:
                    self._changed.wait(0.5)  # or until a connection has ended
            return
        guest = _Guest(link, _whose(_host(peer)))
        with self._changed:
            if not self._may_come(guest):
                link.close()
                return
            self._guests.add(guest)
        thread = threading.Thread(
            target=self._attend, args=(guest, _host(peer), listener.family), daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no more threads
            _log.warning("a connection was refused: %s", error)
            self._dismiss(guest)

    def _may_come(self, guest: _Guest) -> bool:
        """Return whether a client may have another connection; an idle one is ended for it."""
        same = [each for each in self._guests if guest.whose and each.whose == guest.whose]
        if len(same) < self._limits.of_one or _end_oldest(same):
            return True
        now = time.monotonic()
        if now > self._warned + _QUIET:
            self._warned = now
            _log.warning("%s has %d connections: no more are taken", guest.whose, len(same))
        return False

    def _attend(self, guest: _Guest, peer: str, family: int) -> None:
        try:
            link = guest.link
            if family != socket.AF_UNIX:
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    link = self._secure(self._tls, guest)
            Connection(
                link,
                self._handler,
                self._limits,
                peer=peer,
                may_wait=lambda: self._rest(guest),
                busy=lambda: self._work(guest),
                observer=self._observer,
            ).run()
        except OSError as error:
            _log.debug("connection of %s: %s", peer, error)
        except Exception:  # of any kind: the other connections go on
            _log.exception("connection of %s", peer)
        finally:
            self._dismiss(guest)

    def _secure(self, tls: ssl.SSLContext, guest: _Guest) -> ssl.SSLSocket:
        guest.link.settimeout(self._limits.handshake_time)
        secured = tls.wrap_socket(guest.link, server_side=True, do_handshake_on_connect=False)
        with self._changed:
            guest.link = secured
        secured.do_handshake()
        return secured

    def _rest(self, guest: _Guest) -> bool:
        with self._changed:
            guest.idle_since = time.monotonic()
            return not self._ending or _readable(guest.link.fileno())

    def _work(self, guest: _Guest) -> None:
        with self._changed:
            guest.idle_since = None

    def _dismiss(self, guest: _Guest) -> None:
        with self._changed:
            self._guests.discard(guest)
            guest.link.close()
            self._changed.notify_all()


def _readable(fd: int) -> bool:
    """Return whether something has come: a request, a connection, an order."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _shut(link: socket.socket, how: int) -> None:
    """End one or both directions; whoever waits for the socket wakes up."""
    with suppress(OSError):
        socket.socket.shutdown(link, how)  # that of an SSLSocket would take the keys away


def _end_oldest(guests: Iterable[_Guest]) -> bool:
    """End the connection that has been idle longest; return whether one is."""
    idle = [each for each in guests if each.idle_since is not None]
    if idle:
        oldest = min(idle, key=lambda each: each.idle_since or 0.0)
        oldest.idle_since = None
        _shut(oldest.link, socket.SHUT_RD)
    return bool(idle)


def _whose(host: str) -> str:
    """Return what stands for a client: its address, of IPv6 the network, of which it has all."""
    if ":" not in host:
        return host
    packed = ipaddress.ip_address(host.partition("%")[0]).packed
    return f"{ipaddress.ip_address(packed[:8] + bytes(8))}/64"


def _name(where: object) -> str:
    if isinstance(where, tuple):
        host, port = where[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(where)


def _host(peer: object) -> str:
    return str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else ""
