from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from knarr.errors import InvalidArgument
from knarr.registryd.names import Route
from knarr.registryd.service import Options
from knarr.registryd.webhooks import Webhooks, check
from knarr.web import body as bodies
from knarr.web.body import LengthBody
from knarr.web.limits import Limits
from knarr.web.message import Request, Response
from knarr.web.pace import Pace
from tests.support import web
from tests.support.registries import MANIFEST, Client, serving
from tests.support.waiting import wait_until


class Listener:
    """What an address was told; ``refusals`` are the first answers."""

    def __init__(self, *refusals: int) -> None:
        self.refusals = list(refusals)
        self.events: list[dict[str, Any]] = []
        self.kinds: set[str | None] = set()

    def __call__(self, request: Request) -> Response:
        told = json.loads(bodies.read(request.body, 100_000) or b"")
        if self.refusals:
            return Response(self.refusals.pop(0))
        self.kinds.add(request.header("content-type"))
        self.events += told["events"]
        return Response(200)


@contextmanager
def telling(folder: Path, listener: Listener) -> Iterator[Client]:
    with web.serving(listener) as (server, _):
        url = f"http://{server.addresses[0]}/events"
        with serving(str(folder), Options(webhooks=(url,))) as made:
            client = made.client()
            yield client
            client.close()


def test_what_is_told(tmp_path: Path) -> None:
    listener = Listener()
    with telling(tmp_path, listener) as client:
        digest, body = client.push_image("team/app", "v1")
        client.push_manifest("team/app", f"{digest}?tag=v2&tag=v3", body)
        client("GET", "/v2/team/app/manifests/v1", User_Agent="a client" + "!" * 10_000)
        client("HEAD", "/v2/team/app/manifests/v1")
        client("GET", "/v2/team/app/manifests/none")
        client("DELETE", f"/v2/team/app/manifests/{digest}")
        wait_until(lambda: len(listener.events) == 5)
    assert listener.kinds == {"application/vnd.docker.distribution.events.v1+json"}
    assert [each["action"] for each in listener.events] == ["push"] * 3 + ["pull", "delete"]
    targets = [each["target"] for each in listener.events]
    base = {"repository": "team/app", "digest": digest}
    assert targets[:3] == [{**base, "mediaType": MANIFEST, "tag": f"v{n}"} for n in (1, 2, 3)]
    assert targets[3] == {**base, "mediaType": MANIFEST, "tag": "v1"}
    assert targets[4] == base
    assert listener.events[3]["request"]["useragent"] == "a client" + "!" * 492
    assert listener.events[3]["request"]["addr"] == "127.0.0.1"
    assert len({each["id"] for each in listener.events}) == 5


def test_nobody_waits_for_an_address_that_does_not_answer(tmp_path: Path) -> None:
    with serving(str(tmp_path), Options(webhooks=("http://127.0.0.1:1/",))) as made:
        client = made.client()
        client.push_image("team/app", "v1")
        assert client("GET", "/v2/team/app/manifests/v1").status == 200
        client.close()


def test_an_address_is_tried_again() -> None:
    listener = Listener(500, 404)
    with web.serving(listener) as (server, _):
        hooks = Webhooks([f"http://{server.addresses[0]}/"], pauses=(0.0, 0.0, 0.0))
        hooks.note(_pull(), Route("manifest", "a", "v1"), Response(200))
        wait_until(lambda: listener.events)
        hooks.close()


def test_an_event_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener(500, 500)
    with web.serving(listener) as (server, _):
        hooks = Webhooks([f"http://{server.addresses[0]}/"], pauses=(0.0,))
        for tag in ("v1", "v2"):
            hooks.note(_pull(), Route("manifest", "a", tag), Response(200))
        wait_until(lambda: listener.events)
        hooks.close()
    assert listener.events[0]["target"]["tag"] == "v2"
    assert "was given up: HTTP Error 500" in caplog.text


def test_no_redirect_is_followed(caplog: pytest.LogCaptureFixture) -> None:
    elsewhere: list[str] = []

    def other(request: Request) -> Response:
        elsewhere.append(request.method)
        return Response(200)

    with web.serving(other) as (server, _):
        where = [("Location", f"http://{server.addresses[0]}/")]
        with web.serving(lambda _request: Response(302, where)) as (listener, _):
            hooks = Webhooks([f"http://{listener.addresses[0]}/"], pauses=())
            hooks.note(_pull(), Route("manifest", "a", "v1"), Response(200))
            wait_until(lambda: "was given up: HTTP Error 302" in caplog.text)
            hooks.close()
    assert elsewhere == []


def _pull() -> Request:
    import socket

    with socket.socket() as link:
        return Request("GET", "/", [], [], LengthBody(link, Pace(Limits()), b"", 0, None))


@pytest.mark.parametrize("url", ["", "x", "file:///etc/passwd", "http://", "https://u:p@host/"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InvalidArgument):
        check(url)


def test_its_threads_end_with_it() -> None:
    before = threading.active_count()
    hooks = Webhooks(["http://127.0.0.1:1/", "http://127.0.0.1:2/"])
    assert threading.active_count() == before + 2
    hooks.close()
    wait_until(lambda: threading.active_count() == before)
