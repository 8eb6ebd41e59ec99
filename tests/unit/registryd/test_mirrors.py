"""Copies of another registry's images: the other one is ours, too, or what a test makes."""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from knarr.registryd import garbage
from knarr.registryd.service import Options
from knarr.registryd.upstreams import Upstream
from knarr.web.message import Request, Response, Stream
from tests.support import web
from tests.support.registries import MANIFEST, Client, Serving, serving, sha256
from tests.support.waiting import wait_until

DATA = os.urandom(2_000_000)


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("KNARR_CERTS_D", str(tmp_path / "certs.d"))


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Serving]:
    with serving(str(tmp_path / "upstream")) as made:
        yield made


@pytest.fixture
def there(upstream: Serving) -> Iterator[Client]:
    made = upstream.client()
    yield made
    made.close()


@contextmanager
def copying(folder: Path, port: int, prefix: str = "up", fresh: float = 0.0) -> Iterator[Client]:
    known = (Upstream(prefix, f"127.0.0.1:{port}"),)
    with serving(str(folder / "copies"), Options(upstreams=known, fresh=fresh)) as made:
        client = made.client()
        client.serving = made  # type: ignore[attr-defined]
        yield client
        client.close()


def blobs_of(body: bytes) -> list[str]:
    content = json.loads(body)
    return [content["config"]["digest"], *(each["digest"] for each in content["layers"])]


def test_what_was_pulled_once_is_there_without_upstream(tmp_path: Path) -> None:
    with serving(str(tmp_path / "upstream")) as upstream:
        there = upstream.client()
        layer = there.descriptor("team/app", DATA, "application/vnd.oci.image.layer.v1.tar")
        digest, body = there.push_image("team/app", "v1", layers=[layer])
        with copying(tmp_path, upstream.port) as client:
            got = client("GET", "/v2/up/team/app/manifests/v1")
            assert (got.status, got.body) == (200, body)
            for each in blobs_of(body):
                got = client("GET", f"/v2/up/team/app/blobs/{each}")
                assert got.status == 200
                assert sha256(got.body) == each
            wait_until(lambda: _kept(client, "up/team/app", sha256(DATA)))
            there.close()
    with copying(tmp_path, 1) as client:  # nobody listens there
        for reference in ("v1", digest):
            got = client("GET", f"/v2/up/team/app/manifests/{reference}")
            assert (got.status, got.body) == (200, body)
        said = client("HEAD", "/v2/up/team/app/manifests/v1").header("Warning")
        assert said == '299 - "127.0.0.1:1 cannot be asked: this is a copy of an earlier day"'
        for each in blobs_of(body):
            assert sha256(client("GET", f"/v2/up/team/app/blobs/{each}").body) == each
        assert client("GET", "/v2/up/team/app/tags/list").json["tags"] == ["v1"]
        got = client("GET", "/v2/up/team/app/manifests/v2")
        assert got.status == 503
        assert "cannot be had" in got.text


def _kept(client: Client, repository: str, digest: str) -> bool:
    made: Serving = client.serving  # type: ignore[attr-defined]
    with made.service.shelf.catalogue.reading() as db:
        return bool(
            db.execute(
                "SELECT 1 FROM blob JOIN repository ON repository = id"
                " WHERE name = ? AND digest = ?",
                (repository, digest),
            ).fetchone()
        )


def test_tags_move_as_they_do_upstream(tmp_path: Path, upstream: Serving, there: Client) -> None:
    there.push_image("team/app", "v1")
    with copying(tmp_path, upstream.port) as client:
        path = "/v2/up/team/app/manifests/v1"
        assert client("HEAD", path).status == 200
        second, body = there.push_image("team/app", "v1", annotations={"second": "yes"})
        assert client("GET", path).body == body
        assert client("GET", "/v2/up/team/app/tags/list").json == {
            "name": "up/team/app",
            "tags": ["v1"],
        }
        there("DELETE", "/v2/team/app/manifests/v1")
        assert client("GET", path).code == "MANIFEST_UNKNOWN"
        assert client("GET", f"/v2/up/team/app/manifests/{second}").body == body


def test_a_tag_is_not_compared_each_time(tmp_path: Path, upstream: Serving, there: Client) -> None:
    _, body = there.push_image("team/app", "v1")
    with copying(tmp_path, upstream.port, fresh=1000) as client:
        client("HEAD", "/v2/up/team/app/manifests/v1")
        there.push_image("team/app", "v1", annotations={"second": "yes"})
        assert client("GET", "/v2/up/team/app/manifests/v1").body == body


def test_as_a_mirror_is_asked(tmp_path: Path, upstream: Serving, there: Client) -> None:
    host = f"127.0.0.1:{upstream.port}"
    _, body = there.push_image("team/app", "v1")
    with copying(tmp_path, upstream.port) as client:
        got = client("GET", f"/v2/team/app/manifests/v1?ns={host}")
        assert got.body == body
        assert got.header("OCI-Namespace") == host
        for each in blobs_of(body):
            got = client("GET", f"/v2/team/app/blobs/{each}?ns={host}")
            assert sha256(got.body) == each
        assert client("GET", "/v2/team/app/manifests/v1?ns=elsewhere.io").status == 404
        assert client("GET", "/v2/team/app/manifests/v1").status == 404


def test_without_a_name_whatever_was_not_pushed_here(
    tmp_path: Path, upstream: Serving, there: Client
) -> None:
    _, body = there.push_image("team/app", "v1")
    there.push_image("own", "v1", annotations={"upstream": "yes"})
    with copying(tmp_path, upstream.port, prefix="") as client:
        _, ours = client.push_image("own", "v1")
        assert client("GET", "/v2/own/manifests/v1").body == ours
        assert client("GET", "/v2/team/app/manifests/v1").body == body
        assert client("GET", "/v2/nowhere/manifests/v1").status == 404
        got = client("POST", "/v2/team/app/blobs/uploads/", b"")
        assert (got.status, got.code) == (405, "DENIED")


def test_nothing_is_pushed_to_a_copy(tmp_path: Path, upstream: Serving, there: Client) -> None:
    digest, body = there.push_image("team/app", "v1")
    with copying(tmp_path, upstream.port) as client:
        got = client.push_manifest("up/team/app", "v1", body)
        assert (got.status, got.code) == (405, "DENIED")
        assert got.text.endswith("push to another name")
        client.push_image("own/app", "v1")
        client("GET", "/v2/up/team/app/manifests/v1")
        assert client("DELETE", f"/v2/up/team/app/manifests/{digest}").status == 202


def test_ranges_and_heads_of_what_is_not_here_yet(
    tmp_path: Path, upstream: Serving, there: Client
) -> None:
    there.push_blob("team/app", DATA)
    digest = sha256(DATA)
    with copying(tmp_path, upstream.port) as client:
        got = client("HEAD", f"/v2/up/team/app/blobs/{digest}")
        assert got.header("Content-Length") == str(len(DATA))
        got = client("GET", f"/v2/up/team/app/blobs/{digest}", Range="bytes=1000-1999")
        assert (got.status, got.body) == (206, DATA[1000:2000])
        assert client("GET", f"/v2/up/team/app/blobs/{sha256(b'no')}").code == "BLOB_UNKNOWN"
        wait_until(lambda: _kept(client, "up/team/app", digest))


def test_a_blob_that_is_here_for_another_repository_is_not_fetched_again(
    tmp_path: Path, upstream: Serving, there: Client
) -> None:
    layer = there.descriptor("a", DATA, "application/vnd.oci.image.layer.v1.tar")
    there.push_image("a", "v1", layers=[layer])
    there("POST", f"/v2/b/blobs/uploads/?mount={layer['digest']}&from=a", b"")
    there.push_image("b", "v1", layers=[layer])
    with copying(tmp_path, upstream.port) as client:
        for name in ("a", "b"):
            client("GET", f"/v2/up/{name}/manifests/v1")
        client("GET", f"/v2/up/a/blobs/{layer['digest']}")
        wait_until(lambda: _kept(client, "up/a", layer["digest"]))
        there("DELETE", f"/v2/b/blobs/{layer['digest']}")
        assert client("GET", f"/v2/up/b/blobs/{layer['digest']}").body == DATA


def test_referrers(tmp_path: Path, upstream: Serving, there: Client) -> None:
    digest, body = there.push_image("team/app", "v1")
    subject = {"mediaType": MANIFEST, "digest": digest, "size": len(body)}
    sbom, _ = there.push_image("team/app", subject=subject, artifactType="application/sbom")
    there.push_image("team/app", subject=subject)
    with copying(tmp_path, upstream.port) as client:
        path = f"/v2/up/team/app/referrers/{digest}"
        assert len(client("GET", path).json["manifests"]) == 2
        got = client("GET", f"{path}?artifactType=application/sbom")
        assert [each["digest"] for each in got.json["manifests"]] == [sbom]
        assert got.header("OCI-Filters-Applied") == "artifactType"


def test_copies_that_nobody_asks_for(tmp_path: Path, upstream: Serving, there: Client) -> None:
    _, body = there.push_image("team/app", "v1")
    with copying(tmp_path, upstream.port) as client:
        client.push_image("own", "v1")
        client("GET", "/v2/up/team/app/manifests/v1")
        for each in blobs_of(body):
            client("GET", f"/v2/up/team/app/blobs/{each}")
        shelf = client.serving.service.shelf  # type: ignore[attr-defined]
        wait_until(lambda: all(_kept(client, "up/team/app", each) for each in blobs_of(body)))
        assert garbage.collect(shelf, grace=-1, keep_copies=3600).manifests == ()
        gone = garbage.collect(shelf, grace=-1, keep_copies=-1).manifests
        assert gone == (("up/team/app", sha256(body)),)
        assert client("HEAD", "/v2/own/manifests/v1").status == 200
        assert client("GET", "/v2/up/team/app/manifests/v1").body == body  # fetched anew


# --- upstreams that fail -------------------------------------------------------------------------


class Faulty:
    """An upstream with one blob; ``send`` makes the body of each answer."""

    def __init__(self, send: Callable[[int], Iterator[bytes]]) -> None:
        self.send = send
        self.asked: list[int] = []

    def __call__(self, request: Request) -> Response:
        if "/blobs/" not in request.path:
            return Response(200, [("Content-Type", "application/json")], b"{}")
        text = request.header("range") or "bytes=0-"
        offset = int(text.removeprefix("bytes=").rstrip("-"))
        self.asked.append(offset)
        stream = Stream(len(DATA) - offset, self.send(offset))
        if not offset:
            return Response(200, [], stream)
        return Response(
            206, [("Content-Range", f"bytes {offset}-{len(DATA) - 1}/{len(DATA)}")], stream
        )


@contextmanager
def faulty(
    tmp_path: Path, send: Callable[[int], Iterator[bytes]]
) -> Iterator[tuple[Client, Faulty]]:
    handler = Faulty(send)
    with web.serving(handler) as (server, _):
        port = int(server.addresses[0].rpartition(":")[2])
        with copying(tmp_path, port) as client:
            yield client, handler


PATH = f"/v2/up/team/app/blobs/{sha256(DATA)}"


def test_many_want_it_and_it_is_fetched_once(tmp_path: Path) -> None:
    gate = threading.Event()

    def slowly(offset: int) -> Iterator[bytes]:
        yield DATA[offset:1_000_000]
        assert gate.wait(60)
        yield DATA[1_000_000:]

    with faulty(tmp_path, slowly) as (client, handler):
        found: list[bytes] = []
        made: Serving = client.serving  # type: ignore[attr-defined]

        def want() -> None:
            one = made.client()
            got = one("GET", PATH)
            found.append(got.body)
            one.close()

        threads = [threading.Thread(target=want) for _ in range(5)]
        for each in threads:
            each.start()
        # What came so far is there already, also in another order.
        got = client("GET", PATH, Range="bytes=500000-500009")
        assert got.body == DATA[500_000:500_010]
        gate.set()
        for each in threads:
            each.join()
        assert found == [DATA] * 5
        assert handler.asked == [0]


def test_an_upstream_that_ends_in_the_middle_is_asked_for_the_rest(tmp_path: Path) -> None:
    def cut(offset: int) -> Iterator[bytes]:
        yield DATA[offset : offset + 700_000]

    with faulty(tmp_path, cut) as (client, handler):
        assert client("GET", PATH).body == DATA
        assert len(handler.asked) == 3
        assert handler.asked[1] >= 500_000


def test_wrong_bytes_never_come_whole_and_are_not_kept(tmp_path: Path) -> None:
    lies = [True]

    def lie(offset: int) -> Iterator[bytes]:
        data = DATA[offset:]
        yield data[:-5] + b"wrong" if lies[0] else data

    with faulty(tmp_path, lie) as (client, _):
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            client("GET", PATH)
        client.close()
        assert not _kept(client, "up/team/app", sha256(DATA))
        lies[0] = False
        assert client("GET", PATH).body == DATA


def test_what_came_is_kept_for_the_next_time(tmp_path: Path) -> None:
    began, ended = threading.Event(), threading.Event()

    def stuck(offset: int) -> Iterator[bytes]:
        yield DATA[offset : offset + 1_000_000]
        began.set()
        ended.wait(60)

    def want(made: Serving) -> None:
        one = made.client()
        try:
            one("GET", PATH)
        except (OSError, http.client.HTTPException):
            pass  # the server went away, as it should
        finally:
            one.close()

    with faulty(tmp_path, stuck) as (client, _):
        thread = threading.Thread(target=want, args=(client.serving,))  # type: ignore[attr-defined]
        thread.start()
        assert began.wait(60)
        part = tmp_path / "copies/ingest" / f"{sha256(DATA).replace(':', '-')}.part"
        wait_until(lambda: part.exists() and part.stat().st_size >= 700_000)
        # The copies' server ends first.
        client.serving.service.close()  # type: ignore[attr-defined]
        ended.set()
    thread.join()

    def rest(offset: int) -> Iterator[bytes]:
        yield DATA[offset:]

    with faulty(tmp_path, rest) as (client, handler):
        assert client("GET", PATH).body == DATA
        assert handler.asked[-1] >= 700_000


@pytest.mark.parametrize(
    ("status", "wanted", "code"),
    [(401, 403, "DENIED"), (403, 403, "DENIED"), (404, 404, "MANIFEST_UNKNOWN")],
)
def test_refusals_are_passed_on(tmp_path: Path, status: int, wanted: int, code: str) -> None:
    def refuse(request: Request) -> Response:
        del request
        return Response(status, [("Content-Type", "text/plain")], b"no")

    with web.serving(refuse) as (server, _):
        port = int(server.addresses[0].rpartition(":")[2])
        with copying(tmp_path, port) as client:
            got = client("GET", "/v2/up/team/app/manifests/v1")
            assert (got.status, got.code) == (wanted, code)


def test_an_upstream_that_does_not_answer_is_left_alone_for_a_while(
    tmp_path: Path, upstream: Serving, there: Client
) -> None:
    _, body = there.push_image("team/app", "v1")
    asked: list[str] = []
    broken = False

    def pass_on(request: Request) -> Response:
        asked.append(request.method)
        if broken:
            return Response(503)
        got = there(request.method, request.path)
        return Response(got.status, [(n, got.headers[n]) for n in ("Content-Type",)], got.body)

    with web.serving(pass_on) as (server, _):
        port = int(server.addresses[0].rpartition(":")[2])
        with copying(tmp_path, port) as client:
            path = "/v2/up/team/app/manifests/v1"
            assert client("GET", path).body == body
            broken = True
            assert client("GET", path).header("Warning").startswith('299 - "127.0.0.1')
            asked.clear()
            got = client("GET", path)
            assert (got.body, asked) == (body, [])
            assert got.header("Warning")
