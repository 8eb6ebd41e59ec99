"""Requests to one endpoint: authorised, repeated where that helps, redirected within bounds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from knarr.errors import InvalidArchive, Unavailable
from knarr.registry import addresses, challenge, failures
from knarr.registry.auth import Authorizer
from knarr.registry.credentials import Credential
from knarr.registry.endpoint import Endpoint, Tls
from knarr.registry.transport import (
    Body,
    NotThere,
    Response,
    Stalled,
    Transport,
    Unreachable,
    WrongScheme,
)

REDIRECTS = 10
_MOVED = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
# Seconds after which somebody who waits wants to know what for.
_LONG = 2.0
# What may not go to another host that a registry sends us to.
_PRIVATE = ("Authorization", "Cookie")


class Client:
    """The requests to one endpoint. Safe for threads.

    notice: is told each warning of the registry once.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        transport: Transport,
        credential: Callable[[], Credential],
        headers: dict[str, str],
        notice: Callable[[str], None],
    ) -> None:
        self._transport = transport
        self._headers = {**headers, **dict(endpoint.headers)}
        self._notice = notice
        self._noticed: set[str] = set()
        self._credential = credential
        self._settling = threading.Lock()
        self.offline = False
        self._settled = not endpoint.alternative
        self._set(endpoint)

    @property
    def endpoint(self) -> Endpoint:
        """Where the requests go; its scheme is settled with the first one."""
        return self._endpoint

    @property
    def authorizer(self) -> Authorizer:
        """What it knows about authorisation."""
        return self._authorizer

    def request(
        self,
        method: str,
        path: str,
        *,
        what: str,
        scopes: tuple[str, ...] = (),
        headers: dict[str, str] | None = None,
        body: Body | bytes | None = None,
        wanted: Collection[int] = (200,),
        attempts: int | None = None,
    ) -> Response:
        """Return an answer whose status is one of ``wanted``.

        path: after the endpoint's base, or a whole address. what: names the request in errors.
        scopes: ``repository:PATH:ACTIONS``. Raises Refused for any other status, Unreachable,
        Stalled and the like for none at all, InvalidArchive for redirects that lead nowhere.
        """
        self._settle()
        most = attempts or self._transport.patience.attempts
        attempt = 0
        while True:
            attempt += 1
            last = attempt >= most
            try:
                response = self._authorized(method, path, scopes, headers or {}, body)
            except NotThere:
                raise
            except (Unreachable, Stalled):
                if last or self._transport.connections.closed.is_set():
                    raise
                self._wait(attempt, None)
                continue
            if response.status in wanted:
                self._warn(response)
                return response
            if last or response.status not in _PASSING:
                raise self._refusal(response, what)
            retry_after = response.header("Retry-After")
            response.start(0)
            self._wait(attempt, retry_after)

    def _authorized(
        self,
        method: str,
        path: str,
        scopes: tuple[str, ...],
        headers: dict[str, str],
        body: Body | bytes | None,
    ) -> Response:
        url = self._endpoint.base + path
        if "://" in path:
            what = f"{self._endpoint.host}: it leads"
            url = addresses.check(path, what, is_open=self._endpoint.is_open)
        ours = self.owns(url)
        sent = {**(self._headers if ours else {}), **headers}
        known = self._authorizer.header(scopes) if ours else None
        if known:
            sent["Authorization"] = known
        response = self._followed(method, url, sent, body)
        if response.status != 401 or not self.owns(response.url):
            return response
        try:
            asked = challenge.parse(response.headers.get_all("WWW-Authenticate") or [])
            better = self._authorizer.answer(asked, scopes)
        except BaseException:
            response.close()
            raise
        if better is None or better == known:
            return response
        response.start(0)
        return self._followed(method, url, {**sent, "Authorization": better}, body)

    def _followed(
        self, method: str, url: str, headers: dict[str, str], body: Body | bytes | None
    ) -> Response:
        """Send, and follow redirects of GET and HEAD; credentials stay with their host."""
        for _ in range(REDIRECTS + 1):
            connect = self._endpoint.connect
            response = self._transport.send(method, url, headers, body, self._tls(url), connect)
            if response.status not in _MOVED or method not in ("GET", "HEAD"):
                return response
            response.start(0)
            target = self.resolve(response)
            if not addresses.keeps_credentials(url, target):
                private = {*_PRIVATE, *self._headers}
                headers = {name: headers[name] for name in headers if name not in private}
            url = target
        raise InvalidArchive(f"{self._endpoint.host}: more than {REDIRECTS} redirects")

    def resolve(self, response: Response) -> str:
        """Return the address in an answer's Location, checked. Raises InvalidArchive."""
        location, host = response.header("Location"), self._endpoint.host
        if not location:
            raise InvalidArchive(f"{host}: a redirect without an address")
        what = f"{host}: a redirect"
        return addresses.join(response.url, location, what, is_open=self._endpoint.is_open)

    def owns(self, url: str) -> bool:
        """Return whether an address is of this server, by the scheme that it is asked with."""
        return url.startswith(f"{self._endpoint.scheme}://{self._endpoint.host}/")

    def _tls(self, url: str) -> Tls:
        return self._endpoint.tls if urlsplit(url).netloc == self._endpoint.host else Tls()

    def _settle(self) -> None:
        """Find out once which scheme the server speaks, before anything private is sent."""
        if self._settled:
            return
        with self._settling:
            if self._done():
                return
            try:
                if not self._speaks(self._endpoint):
                    self._set(self._endpoint.switched())
            except (WrongScheme, Unreachable) as first:
                other = self._endpoint.switched()
                try:
                    self._speaks(other)
                except Unavailable:
                    raise first from None
                self._set(other)
            self._settled = True

    def _done(self) -> bool:
        return self._settled  # another thread may have done it meanwhile

    def _speaks(self, endpoint: Endpoint) -> bool:
        response = self._transport.send(
            "GET", f"{endpoint.base}/", {}, None, endpoint.tls, endpoint.connect
        )
        said = response.start(512) if response.status == 400 else b""
        response.close()
        # What servers in Go, and nginx, say to plain HTTP where they expect TLS.
        return not (endpoint.scheme == "http" and b"https" in said.lower())

    def _set(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._authorizer = Authorizer(endpoint, self._credential, self._ask_token_server)
        self._authorizer.offline = self.offline

    def _ask_token_server(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> Response:
        patience = self._transport.patience
        for attempt in range(1, patience.attempts + 1):
            try:
                response = self._followed(method, url, headers, body)
            except (Unreachable, Stalled):
                if attempt == patience.attempts:
                    raise
                self._wait(attempt, None)
                continue
            if response.status not in _PASSING or attempt == patience.attempts:
                return response
            retry_after = response.header("Retry-After")
            response.start(0)
            self._wait(attempt, retry_after)
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, attempt: int, retry_after: str | None) -> None:
        pause = self._transport.patience.pause(attempt, retry_after)
        if pause >= _LONG:
            self._notice(f"{self._endpoint.host} cannot answer now: asked again in {pause:.0f} s")
        if self._transport.connections.closed.wait(pause):
            raise Unavailable(f"{self._endpoint.host}: given up")

    def _refusal(self, response: Response, what: str) -> failures.Refused:
        kind = response.header("Content-Type")
        asks = {
            each.scheme
            for each in challenge.parse(response.headers.get_all("WWW-Authenticate") or [])
        }
        body = response.start(failures.DOCUMENT_LIMIT)
        if response.status == 401 and asks == {"basic"} and self._authorizer.credential.is_empty:
            return failures.Denied(f"{what}: no basic auth credentials", 401, (), "")
        return failures.from_answer(what, response.status, kind, body)

    def _warn(self, response: Response) -> None:
        for header in (response.headers.get_all("Warning") or [])[:8]:
            # RFC 7234, 5.5, as the distribution specification has it: 299 - "text"
            code, _, rest = header.partition(" ")
            text = rest.partition('"')[2].rpartition('"')[0].replace('\\"', '"')[:500]
            if code == "299" and text and text not in self._noticed:
                self._noticed.add(text)
                self._notice(f"{self._endpoint.host}: {text}")
