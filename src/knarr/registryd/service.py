"""A registry that listens: application, web server, and a thread that keeps house."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from knarr.closing import Closing
from knarr.errors import Conflict
from knarr.registryd import access, garbage, shelf
from knarr.registryd.access import Access
from knarr.registryd.application import Application
from knarr.registryd.gate import Gate
from knarr.registryd.htpasswd import Users
from knarr.registryd.mirrors import FRESH, Mirrors
from knarr.registryd.quotas import Quotas
from knarr.registryd.tagrules import TagRules
from knarr.registryd.tokens import Tokens
from knarr.registryd.upstreams import Upstream
from knarr.registryd.watched import Watched
from knarr.registryd.webhooks import Webhooks
from knarr.web.limits import Limits
from knarr.web.message import Request
from knarr.web.server import Server

_log = logging.getLogger(__name__)
_HOUSEKEEPING = 600.0  # seconds
_SHOWN = 500  # characters of a path in the log
LOCK = "serve.lock"
KEY = "token.key"


@dataclass(frozen=True, slots=True)
class Options:
    """How a registry behaves. Times are in seconds.

    collect_every: how often garbage is collected, None for never. upstreams: whose repositories
    are copied. fresh: how long a tag of a copy is taken to be what it was. keep_copies: how long
    what nobody asks for is kept of them, None for ever. webhooks: addresses that are told.
    htpasswd: file of users, None for no login; access: file of what they may do, None for
    everything; anybody_pulls: also who has not logged in may pull, where there is no such file.
    tokens: whether clients log in for tokens; token_realm: where, None for here.
    """

    rules: TagRules = field(default_factory=TagRules)
    quotas: Quotas = field(default_factory=Quotas)
    htpasswd: str | None = None
    access: str | None = None
    anybody_pulls: bool = False
    tokens: bool = False
    token_realm: str | None = None
    read_only: bool = False
    collect_every: float | None = None
    grace: float = garbage.GRACE
    upload_expiry: float = garbage.UPLOAD_EXPIRY
    upstreams: tuple[Upstream, ...] = ()
    fresh: float = FRESH
    keep_copies: float | None = None
    webhooks: tuple[str, ...] = ()


class Service(Closing):
    """One registry on one directory; use as a context manager."""

    def __init__(
        self,
        root: str,
        listeners: Sequence[socket.socket],
        options: Options,
        *,
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        """The sockets belong to the service from here on.

        Raises Conflict when another process serves that directory, InvalidArgument, Unsupported,
        Unavailable, OSError.
        """
        self._options = options
        self._ended = threading.Event()
        with ExitStack() as stack:
            for each in listeners:
                stack.callback(each.close)
            users = Users(options.htpasswd) if options.htpasswd else None
            rules = Watched(options.access, "access file", access.parse) if options.access else None
            self.shelf = shelf.open_shelf(root, options.rules, options.quotas)
            stack.callback(self.shelf.close)
            self._lock = _lock(root)
            stack.callback(os.close, self._lock)
            gate = None if users is None else _gate(users, rules, options, root)
            self._mirrors: Mirrors | None = None
            if options.upstreams:
                self._mirrors = Mirrors(
                    self.shelf, options.upstreams, options.fresh, adopting=rules is None
                )
                stack.callback(self._mirrors.close)
            self._webhooks = Webhooks(options.webhooks) if options.webhooks else None
            application = Application(
                self.shelf, gate, options.read_only, self._mirrors, self._webhooks
            )
            self._server = Server(application, listeners, tls=tls, limits=limits, observer=_note)
            stack.pop_all()

    @property
    def addresses(self) -> list[str]:
        """Return where it listens."""
        return self._server.addresses

    def serve(self) -> None:
        """Serve until ``stop``."""
        keeper = threading.Thread(target=self._keep_house, name="housekeeping", daemon=True)
        keeper.start()
        self._server.serve()

    def stop(self) -> None:
        """Have ``serve`` return; may be called from a signal handler."""
        self._server.stop()

    def close(self, grace: float = 0.0) -> None:
        """End, with so many seconds for requests that are under way; harmless to repeat."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._server.finish(grace)
        if self._mirrors is not None:
            self._mirrors.close()  # who waits for a download is told
        self._server.close()
        if self._webhooks is not None:
            self._webhooks.close()
        self.shelf.close()
        os.close(self._lock)

    def _keep_house(self) -> None:
        """Expire uploads now and then, and collect garbage where that was asked for."""
        every = self._options.collect_every
        waited = 0.0
        while True:
            try:
                garbage.sweep(self.shelf, self._options.upload_expiry)
                if every is not None and waited >= every:
                    waited = 0.0
                    found = garbage.collect(
                        self.shelf,
                        grace=self._options.grace,
                        upload_expiry=self._options.upload_expiry,
                        keep_copies=self._options.keep_copies,
                    )
                    if found.files:
                        _log.info("collected %d files, %d bytes", len(found.files), found.size)
            except Exception:  # of any kind: the registry goes on, and tries again
                _log.exception("housekeeping failed")
            pause = _HOUSEKEEPING if every is None else min(_HOUSEKEEPING, every)
            if self._ended.wait(pause):
                return
            waited += pause


def _gate(users: Users, rules: Watched[Access] | None, options: Options, root: str) -> Gate:
    """Return what decides about clients. Raises OSError."""
    # Who pulls without logging in has to be told how others do, which only tokens can.
    wanted = options.tokens or options.token_realm or options.anybody_pulls or rules
    made = Tokens(os.path.join(root, KEY)) if wanted else None
    said = rules or access.users_only(anybody_pulls=options.anybody_pulls)
    return Gate(users, said, made, options.token_realm)


def _lock(root: str) -> int:
    """Return a descriptor that keeps other servers away from a directory."""
    fd = os.open(os.path.join(root, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Conflict(f"registry {root}: another process serves it already") from None
    return fd


def _note(request: Request, status: int, sent: int, seconds: float) -> None:
    """Log an answer, as one line."""
    _log.info(
        "%s %s %s %s %d %d %.3fs",
        request.peer or "-", request.user or "-", request.method, _plain(request.path[:_SHOWN]),
        status, sent, seconds,
    )  # fmt: skip


def _plain(text: str) -> str:
    """Return ``text`` with ``?`` for what could move the cursor of whoever reads the log."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
