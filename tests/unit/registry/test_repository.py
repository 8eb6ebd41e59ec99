"""Blobs that are cut off, uploads that go on, lists in pages, referrers with and without help."""

import io
import json

import pytest

from knarr.errors import InvalidArchive, InvalidArgument, NotFound, Unavailable, Unsupported
from knarr.registry import uploads
from knarr.registry.referring import tag_of
from knarr.registry.repository import Registry
from tests.support.fakeregistry import (
    OCI_INDEX,
    OCI_MANIFEST,
    FakeRegistry,
    Request,
    digest_of,
    send,
)

DATA = bytes(range(256)) * 4000
ACCEPT = (OCI_MANIFEST, OCI_INDEX)


def read_all(registry: Registry, digest: str, offset: int = 0) -> bytes:
    stream = registry.repository("app").blob(digest, offset=offset)
    try:
        parts = []
        while chunk := stream.read(100_000):
            parts.append(chunk)
        return b"".join(parts)
    finally:
        stream.close()


def test_a_blob_and_a_part_of_it(fake: FakeRegistry, registry: Registry) -> None:
    digest = fake.add_blob(DATA)
    assert read_all(registry, digest) == DATA
    assert read_all(registry, digest, 1000) == DATA[1000:]
    assert registry.repository("app").has_blob(digest) == len(DATA)
    assert registry.repository("app").has_blob(digest_of(b"")) is None


def test_a_blob_that_is_cut_off_goes_on(fake: FakeRegistry, registry: Registry) -> None:
    digest = fake.add_blob(DATA)
    cuts = iter([200_000, 200_000, 400_001, 800_000])

    def hook(request: Request) -> bool:
        cut = next(cuts, None) if "/blobs/" in request.path else None
        if cut is not None:
            send(request, DATA, upto=cut)
        return cut is not None

    fake.hooks.append(hook)
    assert read_all(registry, digest) == DATA
    ranges = [headers.get("Range") for headers in fake.asked("GET", "/blobs/")]
    assert ranges == [None, "bytes=200000-", "bytes=200000-", "bytes=400001-", "bytes=800000-"]


def test_a_server_that_knows_no_ranges(fake: FakeRegistry, registry: Registry) -> None:
    digest = fake.add_blob(DATA)
    cuts = iter([300_000])

    def hook(request: Request) -> bool:
        if "/blobs/" not in request.path:
            return False
        del request.headers["Range"]
        send(request, DATA, upto=next(cuts, None))
        return True

    fake.hooks.append(hook)
    assert read_all(registry, digest) == DATA


def test_a_stream_that_never_gets_further_ends(fake: FakeRegistry, registry: Registry) -> None:
    digest = fake.add_blob(DATA)

    def hook(request: Request) -> bool:
        if "/blobs/" in request.path:
            send(request, DATA, upto=0 if request.headers["Range"] else 1000)
        return "/blobs/" in request.path

    fake.hooks.append(hook)
    with pytest.raises(Unavailable, match="ended within"):
        read_all(registry, digest)


@pytest.mark.parametrize(
    "content_range", ["", "bytes 0-9/10", "bytes x", "bytes 1000-2000/9999999"]
)
def test_another_part_than_asked_for(
    fake: FakeRegistry, registry: Registry, content_range: str
) -> None:
    digest = fake.add_blob(DATA)

    def hook(request: Request) -> bool:
        if request.path == "/v2/":
            return False
        if request.headers["Range"]:
            request.reply(206, DATA[1000:], {"Content-Range": content_range})
        else:
            send(request, DATA, upto=1000)
        return True

    fake.hooks.append(hook)
    with pytest.raises(InvalidArchive):
        read_all(registry, digest)


def test_a_range_beyond_the_end(fake: FakeRegistry, registry: Registry) -> None:
    digest = fake.add_blob(b"short")
    with pytest.raises(InvalidArchive, match="less of it than was announced"):
        read_all(registry, digest, 100)


def test_foreign_layers_come_from_elsewhere(
    fake: FakeRegistry, other: FakeRegistry, registry: Registry
) -> None:
    digest = other.add_blob(b"foreign")
    url = f"http://{other.host}/v2/x/blobs/{digest}"
    repository = registry.repository("app")
    for urls in ((url,), ("file:///etc/passwd", f"http://{other.host}/v2/x/y", url)):
        stream = repository.blob(digest, urls=urls)
        assert stream.read(100) == b"foreign"
        stream.close()
    with pytest.raises(NotFound):
        repository.blob(digest)
    del fake


def test_malformed_digests_are_not_asked_for(registry: Registry) -> None:
    with pytest.raises(InvalidArgument):
        registry.repository("app").blob("sha256:../../x")


def push(registry: Registry, data: bytes = DATA) -> tuple[str, list[int]]:
    told: list[int] = []

    def opened(offset: int) -> io.BytesIO:
        return io.BytesIO(data[offset:])

    registry.repository("app").push_blob(digest_of(data), len(data), opened, told.append)
    return digest_of(data), told


def test_an_upload(fake: FakeRegistry, registry: Registry) -> None:
    digest, told = push(registry)
    assert fake.blobs[digest] == DATA
    assert told[-1] == len(DATA)
    assert fake.uploads == {}


def test_an_empty_blob(fake: FakeRegistry, registry: Registry) -> None:
    digest, _ = push(registry, b"")
    assert fake.blobs[digest] == b""


def test_an_upload_that_is_cut_off_goes_on_in_pieces(
    fake: FakeRegistry, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PIECE", 100_000)
    cut: list[int] = []

    def hook(request: Request) -> bool:
        if request.command == "PUT" and not cut:
            cut.append(1)
            upload = next(iter(fake.uploads.values()))
            upload += request.rfile.read(150_000)
            request.close_connection = True
            return True
        if request.command == "PATCH" and len(cut) < 3:
            cut.append(1)
            upload = next(iter(fake.uploads.values()))
            upload += request.rfile.read(10)
            request.close_connection = True
            return True
        return False

    fake.hooks.append(hook)
    digest, _ = push(registry)
    assert fake.blobs[digest] == DATA
    ranges = [headers["Content-Range"] for headers in fake.asked("PATCH", "uploads")]
    assert ranges[:3] == ["150000-249999", "150010-250009", "150020-250019"]


def test_a_piece_that_is_out_of_order(
    fake: FakeRegistry, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PIECE", 300_000)
    seen: list[str] = []

    def hook(request: Request) -> bool:
        if request.command == "PUT" and not seen:
            seen.append("cut")
            request.close_connection = True
            return True
        if request.command == "PATCH" and len(seen) == 1:
            seen.append("behind the client's back")
            upload = next(iter(fake.uploads.values()))
            upload += DATA[:5000]
        return False

    fake.hooks.append(hook)
    digest, _ = push(registry)
    assert fake.blobs[digest] == DATA


def test_the_least_size_of_a_piece(
    fake: FakeRegistry, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PIECE", 1000)
    seen: list[int] = []

    def hook(request: Request) -> bool:
        if request.command == "POST":
            fake.uploads["u"] = bytearray()
            where = {"Location": "/v2/app/blobs/uploads/u", "OCI-Chunk-Min-Length": "400000"}
            request.reply(202, b"", where)
            return True
        if request.command == "PUT" and not seen:
            seen.append(1)
            request.close_connection = True
            return True
        return False

    fake.hooks.append(hook)
    digest, _ = push(registry)
    assert fake.blobs[digest] == DATA
    sizes = [int(headers["Content-Length"]) for headers in fake.asked("PATCH", "uploads")]
    assert sizes == [400_000, 400_000, len(DATA) - 800_000]


def test_what_was_begun_is_taken_back(fake: FakeRegistry, registry: Registry) -> None:
    def hook(request: Request) -> bool:
        if request.command == "PUT":
            request.body()
            request.error(400, "DIGEST_INVALID", "no")
            return True
        return False

    fake.hooks.append(hook)
    with pytest.raises(Exception, match="digest invalid: no"):
        push(registry)
    assert fake.uploads == {}


def test_a_refusal_while_sending_is_listened_to(fake: FakeRegistry, registry: Registry) -> None:
    def hook(request: Request) -> bool:
        if request.command == "PUT":
            request.error(403, "DENIED", "quota exceeded")
            request.close_connection = True
            return True
        return False

    fake.hooks.append(hook)
    with pytest.raises(Exception, match="quota exceeded"):
        push(registry, DATA * 20)


def test_mounts(fake: FakeRegistry, registry: Registry) -> None:
    digest = fake.add_blob(DATA)
    repository = registry.repository("app")
    assert repository.mount(digest, "other")
    assert not repository.mount(digest_of(b"new"), "other")
    assert len(fake.uploads) == 1
    repository.push_blob(digest_of(b"new"), 3, lambda offset: io.BytesIO(b"new"[offset:]))
    assert fake.uploads == {}  # it went into what the mount had begun
    assert len(fake.asked("POST", "uploads")) == 2


def test_tags_in_pages(fake: FakeRegistry, registry: Registry) -> None:
    def hook(request: Request) -> bool:
        if "/tags/list" not in request.path:
            return False
        second = "last=b" in request.path
        link = {} if second else {"Link": '</v2/app/tags/list?n=2&last=b>; rel="next"'}
        request.json(200, {"name": "app", "tags": ["c"] if second else ["a", "b"]}, link)
        return True

    fake.hooks.append(hook)
    assert list(registry.repository("app").tags(n=2)) == ["a", "b", "c"]


def test_pages_that_go_round(fake: FakeRegistry, registry: Registry) -> None:
    def hook(request: Request) -> bool:
        request.json(200, {"tags": ["a"]}, {"Link": '</v2/app/tags/list>; rel="next"'})
        return True

    fake.hooks.append(hook)
    with pytest.raises(InvalidArchive, match="in a circle"):
        list(registry.repository("app").tags())


def test_a_registry_without_catalog(registry: Registry) -> None:
    with pytest.raises(Unsupported, match="does not list its repositories"):
        list(registry.catalog())


SUBJECT = digest_of(b"subject")


def test_referrers_by_the_api(fake: FakeRegistry, registry: Registry) -> None:
    entries = [{"digest": SUBJECT, "artifactType": kind} for kind in ("a", "b")]

    def hook(request: Request) -> bool:
        if "/referrers/" in request.path:
            request.json(200, {"manifests": entries})
        return "/referrers/" in request.path

    fake.hooks.append(hook)
    repository = registry.repository("app")
    assert repository.referrers(SUBJECT) == entries
    assert repository.referrers(SUBJECT, "b") == entries[1:]


def test_referrers_by_the_tag(fake: FakeRegistry, registry: Registry) -> None:
    repository = registry.repository("app")
    assert repository.referrers(SUBJECT) == []
    for kind in ("sbom", "signature"):
        value = {"schemaVersion": 2, "artifactType": kind, "subject": {"digest": SUBJECT},
                 "config": {"mediaType": "x"}, "annotations": {"of": kind}}  # fmt: skip
        body = json.dumps(value).encode()
        repository.put_manifest(digest_of(body), OCI_MANIFEST, body)
        repository.put_manifest(digest_of(body), OCI_MANIFEST, body)  # listed once all the same
    found = repository.referrers(SUBJECT)
    assert [each["artifactType"] for each in found] == ["sbom", "signature"]
    assert found[0]["annotations"] == {"of": "sbom"}
    assert repository.referrers(SUBJECT, "signature") == found[1:]
    assert tag_of(SUBJECT) in fake.manifests


def test_no_list_is_kept_where_the_registry_does(fake: FakeRegistry, registry: Registry) -> None:
    def hook(request: Request) -> bool:
        if request.command == "PUT":
            request.body()
            request.reply(201, b"", {"OCI-Subject": SUBJECT})
        return request.command == "PUT"

    fake.hooks.append(hook)
    body = json.dumps({"schemaVersion": 2, "subject": {"digest": SUBJECT}}).encode()
    registry.repository("app").put_manifest("1", OCI_MANIFEST, body)
    assert len(fake.asked("PUT", "manifests")) == 1


@pytest.mark.parametrize(
    ("digest", "tag"),
    [
        ("sha256:" + "a" * 64, "sha256-" + "a" * 64),
        ("sha512:" + "b" * 128, "sha512-" + "b" * 64),
        ("test+algo+using+algorithm+separators+and+lots+of+characters:" + "c" * 100,
         "test-algo-using-algorithm-separat"[:32] + "-" + "c" * 64),
    ],
)  # fmt: skip
def test_fallback_tags(digest: str, tag: str) -> None:
    assert tag_of(digest) == tag
