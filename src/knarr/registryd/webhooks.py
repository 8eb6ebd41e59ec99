"""Tells others of pushed, pulled and deleted manifests, in the format of Docker's registry.

Its documentation calls them notifications: a POST of an envelope with events in JSON. Nothing
waits for them: each address has a queue and a thread; what cannot be delivered after some
attempts is given up with a warning, and so is what comes while the queue is full.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from knarr._version import __version__
from knarr.errors import InvalidArgument
from knarr.registryd.names import Route
from knarr.web.message import Request, Response

_log = logging.getLogger(__name__)
_TYPE = "application/vnd.docker.distribution.events.v1+json"
_ACTIONS = {"GET": "pull", "PUT": "push", "DELETE": "delete"}
_QUEUED = 10_000
_SHOWN = 500  # characters of a header: that many events can wait, each with what clients wrote
_PATIENCE = 10.0  # seconds for an answer
_PAUSES = (1.0, 5.0, 25.0)  # seconds before further attempts


def check(url: str) -> str:
    """Return an address that events can be sent to. Raises InvalidArgument."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise InvalidArgument(f"--webhook {url}: want http://HOST/PATH or https://HOST/PATH")
    return url


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: that would be a GET of somebody else, with the event left behind."""

    def redirect_request(self, *_: object) -> None:
        """Refuse it; the status becomes the error."""


class Webhooks:
    """The addresses that are told."""

    def __init__(self, urls: Sequence[str], pauses: Sequence[float] = _PAUSES) -> None:
        self._pauses = tuple(pauses)
        self._ended = threading.Event()
        self._instance = str(uuid.uuid4())
        self._opener = urllib.request.build_opener(_Stay)
        self._queues: dict[str, queue.Queue[dict[str, Any] | None]] = {}
        for url in urls:
            self._queues[url] = queue.Queue(_QUEUED)
            threading.Thread(target=self._deliver, args=(url,), daemon=True).start()

    def close(self) -> None:
        """Give up what is still to be delivered."""
        self._ended.set()
        for url, waiting in self._queues.items():
            if waiting.qsize():
                _log.warning("webhook %s: %d events were not delivered", url, waiting.qsize())
            with suppress(queue.Full):
                waiting.put_nowait(None)  # wakes up who waits for an event

    def note(self, request: Request, to: Route, response: Response) -> None:
        """Tell of a request, if it pushed, pulled or deleted a manifest."""
        action = _ACTIONS.get(request.method)
        if to.kind != "manifest" or action is None or response.status not in (200, 201, 202):
            return
        headers = dict(response.headers)
        target = {
            "mediaType": _media_type(request, headers, action),
            "digest": headers.get("Docker-Content-Digest") or (to.last if ":" in to.last else ""),
            "repository": to.repository,
        }
        tags = [value for name, value in response.headers if name == "OCI-Tag"]
        for tag in tags or ([] if ":" in to.last else [to.last]) or [""]:
            told = {**target, "tag": tag}
            self._put(self._event(request, action, {key: told[key] for key in told if told[key]}))

    def _event(self, request: Request, action: str, target: dict[str, str]) -> dict[str, Any]:
        return {
            "id": str(uuid.uuid4()),
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "action": action,
            "target": target,
            "request": {
                "id": str(uuid.uuid4()),
                "addr": request.peer,
                "host": (request.header("host") or "")[:_SHOWN],
                "method": request.method,
                "useragent": (request.header("user-agent") or "")[:_SHOWN],
            },
            "actor": {"name": request.user} if request.user else {},
            "source": {"instanceID": self._instance},
        }

    def _put(self, event: dict[str, Any]) -> None:
        for url, waiting in self._queues.items():
            try:
                waiting.put_nowait(event)
            except queue.Full:
                _log.warning("webhook %s: too slow, an event was given up", url)

    def _deliver(self, url: str) -> None:
        while (event := self._queues[url].get()) is not None and not self._ended.is_set():
            error = self._send(url, event)
            for pause in self._pauses:
                if error is None or self._ended.wait(pause):
                    break
                error = self._send(url, event)
            if error is not None:
                _log.warning("webhook %s: event %s was given up: %s", url, event["id"], error)

    def _send(self, url: str, event: dict[str, Any]) -> Exception | None:
        """Send an event; return what went wrong."""
        headers = {"Content-Type": _TYPE, "User-Agent": f"knarr/{__version__}"}
        body = json.dumps({"events": [event]}).encode()
        asked = urllib.request.Request(url, body, headers)  # noqa: S310 - see ``check``
        try:
            with self._opener.open(asked, timeout=_PATIENCE):
                return None
        except urllib.error.HTTPError as error:
            error.close()
            return error
        except (OSError, HTTPException) as error:
            return error


def _media_type(request: Request, headers: dict[str, str], action: str) -> str:
    if action == "push":
        return (request.header("content-type") or "").partition(";")[0].strip()
    return headers.get("Content-Type", "") if action == "pull" else ""
