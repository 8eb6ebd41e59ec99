"""``Session``: the requests to one registry, by its mirrors and its credentials."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from knarr.closing import Closing
from knarr.errors import InvalidArchive, KnarrError, Unsupported
from knarr.registry import addresses, names
from knarr.registry.client import Client
from knarr.registry.connections import Connections
from knarr.registry.credentials import Credential, Credentials
from knarr.registry.endpoint import RESOLVE
from knarr.registry.hosts import Hosts
from knarr.registry.lanes import Width
from knarr.registry.links import next_page
from knarr.registry.patience import Patience
from knarr.registry.proxies import Proxies
from knarr.registry.transport import Body, Response, Transport

DOCUMENT_LIMIT = 4 * 1024 * 1024
_PAGES = 10_000
# Bytes of all pages of one list together.
_LIST_LIMIT = 64 * 1024 * 1024
_WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def quiet(text: str) -> None:
    """Take a registry's warning and do nothing."""
    del text


class Session(Closing):
    """A registry by its name (``docker.io``, ``localhost:5000``); use as a context manager.

    Safe for threads; nothing is asked before the first request. hosts and credentials are
    those of the environment when left out. notice: is told the registry's warnings.
    """

    def __init__(
        self,
        host: str,
        hosts: Hosts | None = None,
        credentials: Credentials | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        patience: Patience | None = None,
        notice: Callable[[str], None] = quiet,
        width: Width | None = None,
    ) -> None:
        """width: how large blobs come, None for the usual way."""
        env = os.environ if environ is None else environ
        self.host = names.check(host)
        self.credentials = Credentials(env) if credentials is None else credentials
        self.patience = patience or Patience()
        proxies = Proxies.from_environment(env, self.credentials.proxies())
        self.transport = Transport(Connections(proxies, self.patience), self.patience)
        self._hosts = Hosts.from_environment(env) if hosts is None else hosts
        self._notice = notice
        self.given: Credential | None = None
        self._clients: dict[str, list[Client]] = {}
        self._liars: set[str] = set()
        self._lock = threading.Lock()
        self.width = width or Width()
        self.spare = threading.BoundedSemaphore(self.width.extra)

    def close(self) -> None:
        """End all connections; requests of other threads fail at once."""
        self.transport.close()

    def pages(
        self, path: str, scopes: tuple[str, ...], what: str, capability: str = RESOLVE
    ) -> Iterator[dict[str, Any]]:
        """Yield the JSON objects of a list that comes in pages. Raises InvalidArchive."""
        seen = set()
        left = _LIST_LIMIT
        for _ in range(_PAGES):
            seen.add(path)
            response = self.request("GET", path, capability, what=what, scopes=scopes)
            link, url = response.headers.get_all("Link"), response.url
            data = response.read(DOCUMENT_LIMIT, what)
            left -= len(data)
            yield json_object(data, what)
            target = next_page(link or [])
            if target is None:
                return
            if left < 0:
                raise InvalidArchive(f"{what}: it is longer than {_LIST_LIMIT} bytes")
            path = addresses.join(url, target, f"{what}: its next page leads", is_open=True)
            if path in seen:
                raise InvalidArchive(f"{what}: its pages go round in a circle")
        raise InvalidArchive(f"{what}: it has no end")

    def request(
        self,
        method: str,
        path: str,
        capability: str,
        *,
        what: str,
        repository: str = "",
        scopes: tuple[str, ...] = (),
        headers: dict[str, str] | None = None,
        body: Body | bytes | None = None,
        wanted: Collection[int] = (200,),
        attempts: int | None = None,
    ) -> Response:
        """Return the first good answer of those who can be asked: mirrors, then the registry.

        Whatever a mirror says or fails to say, the next is asked; the registry itself has
        the last word. Raises what ``Client.request`` raises, Unsupported when nobody can.
        """
        able = [
            client
            for client in self._trusted(repository)
            if capability in client.endpoint.capabilities
        ]
        if not able:
            raise Unsupported(f"registry {self.host}: its hosts.toml has nobody for '{capability}'")
        if "://" in path:  # where one of them sent us, or an image
            asked = able[-1]
            if method not in _WRITING:  # a registry does not have us write to its mirrors
                asked = next((client for client in able if client.owns(path)), asked)
            return asked.request(
                method, path, what=what, scopes=scopes, headers=headers, body=body,
                wanted=wanted, attempts=attempts,
            )  # fmt: skip
        for client in able[:-1]:
            if method in _WRITING:
                break
            try:
                response = client.request(
                    method, _spaced(path, client), what=what, scopes=scopes, headers=headers,
                    wanted=wanted, attempts=2,
                )  # fmt: skip
                response.mirror = client.endpoint.place
                return response
            except KnarrError:
                if self.transport.connections.closed.is_set():
                    raise
        return able[-1].request(
            method, _spaced(path, able[-1]), what=what, scopes=scopes, headers=headers, body=body,
            wanted=wanted, attempts=attempts,
        )  # fmt: skip

    def distrust(self, mirrors: Iterable[str], why: str) -> bool:
        """Ask mirrors no more that gave wrong bytes; return whether any was asked so far.

        mirrors: as an answer names who gave it; "", the registry itself, stays who is asked last.
        """
        with self._lock:
            found = {each for each in mirrors if each} - self._liars
            self._liars |= found
        for each in sorted(found):
            self._notice(f"mirror {each} gives wrong bytes and is not asked any more: {why}")
        return bool(found)

    def _trusted(self, repository: str) -> list[Client]:
        *mirrors, own = self.clients(repository)
        return [*(each for each in mirrors if each.endpoint.place not in self._liars), own]

    def clients(self, repository: str) -> list[Client]:
        """Return the endpoints with what is known of them, in the order to ask.

        They are the same for all repositories, except that Podman's credentials may differ.
        """
        with self._lock:
            found = self._clients.get(repository)
            if found is None:
                extra = self.credentials.headers()
                found = self._clients[repository] = [
                    Client(each, self.transport, self._source(each.host, repository), extra,
                           self._notice)
                    for each in self._hosts.endpoints(self.host)
                ]  # fmt: skip
            return found

    def _source(self, host: str, repository: str) -> Callable[[], Credential]:
        # The Hub's server has another name than its credentials.
        name = self.host if host == names.server(self.host) else host
        return lambda: self.given or self.credentials.get(name, repository)


def json_object(data: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object in ``data``. Raises InvalidArchive."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        start = data.lstrip()[:15].lower()
        page = ": it is a web page" if start.startswith((b"<!doctype", b"<html")) else ""
        raise InvalidArchive(f"{what} is no JSON{page}") from None
    if not isinstance(value, dict):
        raise InvalidArchive(f"{what} is no JSON object")
    return value


def query(**values: str | int | None) -> str:
    """Return ``?name=value&…`` of those that are not None, or ""."""
    given = {name: value for name, value in values.items() if value is not None}
    return "?" + urlencode(given, quote_via=quote) if given else ""


def _spaced(path: str, client: Client) -> str:
    namespace = client.endpoint.namespace
    if not namespace:
        return path
    return f"{path}{'&' if '?' in path else '?'}ns={quote(namespace)}"
