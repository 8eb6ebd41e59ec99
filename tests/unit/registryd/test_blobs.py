from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from knarr.content import digest as digests
from tests.support.registries import Client, Serving, serving, sha256
from tests.support.waiting import wait_until

DATA = bytes(range(256)) * 40
DIGEST = sha256(DATA)
UPLOADS = "/v2/team/app/blobs/uploads/"


def begin(client: Client, query: str = "") -> str:
    got = client("POST", UPLOADS + query, b"")
    assert got.status == 202
    return got.header("Location")


def unfinished(registry: Serving) -> list[Path]:
    """Return the files of uploads that have not ended."""
    return list(Path(registry.service.shelf.root, "uploads").glob("*.*"))


def pulled(client: Client, digest: str = DIGEST, repository: str = "team/app") -> bytes:
    got = client("GET", f"/v2/{repository}/blobs/{digest}")
    assert got.status == 200
    assert got.header("Docker-Content-Digest") == digest
    return got.body


def test_post_then_put(client: Client) -> None:
    got = client("PUT", f"{begin(client)}?digest={DIGEST}", DATA)
    assert got.status == 201
    assert got.header("Location") == f"/v2/team/app/blobs/{DIGEST}"
    assert got.header("Docker-Content-Digest") == DIGEST
    assert pulled(client) == DATA


def test_single_post(client: Client) -> None:
    got = client("POST", f"{UPLOADS}?digest={DIGEST}", DATA)
    assert got.status == 201
    assert client("GET", got.header("Location")).body == DATA


def test_a_post_that_says_the_digest_and_brings_nothing_begins_an_upload(client: Client) -> None:
    got = client("POST", f"{UPLOADS}?digest={DIGEST}", b"")
    assert got.status == 202
    assert client("PUT", f"{got.header('Location')}?digest={DIGEST}", DATA).status == 201


def test_chunks_in_order(client: Client) -> None:
    where = begin(client)
    for first in range(0, len(DATA), 4000):
        chunk = DATA[first : first + 4000]
        last = first + len(chunk) - 1
        got = client("PATCH", where, chunk, Content_Range=f"{first}-{last}")
        assert got.status == 202
        assert got.header("Range") == f"0-{last}"
        where = got.header("Location")
    assert client("PUT", f"{where}?digest={DIGEST}", b"").status == 201
    assert pulled(client) == DATA


@pytest.mark.parametrize("first", [1, 4999, 5001, 10**17])
def test_a_chunk_out_of_order_is_refused_and_the_upload_goes_on(client: Client, first: int) -> None:
    where = begin(client)
    client("PATCH", where, DATA[:5000])
    for method, query in (("PATCH", ""), ("PUT", f"?digest={DIGEST}")):
        got = client(method, where + query, b"x" * 10, Content_Range=f"{first}-{first + 9}")
        assert got.status == 416
        assert got.code == "BLOB_UPLOAD_INVALID"
        assert got.header("Range") == "0-4999"
        assert got.header("Location") == where
    assert client("PUT", f"{where}?digest={DIGEST}", DATA[5000:]).status == 201


@pytest.mark.parametrize("text", ["5-1", "0-5", "bytes", "0-", "-5", "a-b", "0-" + "9" * 40])
def test_a_content_range_that_does_not_fit(client: Client, text: str) -> None:
    got = client("PATCH", begin(client), b"four", Content_Range=text)
    assert got.status in (400, 416)


def test_a_stream_of_unknown_length(client: Client) -> None:
    where = begin(client)
    pieces = (DATA[at : at + 1000] for at in range(0, len(DATA), 1000))
    got = client("PATCH", where, pieces, Transfer_Encoding="chunked")
    assert got.status == 202
    assert got.header("Range") == f"0-{len(DATA) - 1}"
    assert client("PUT", f"{where}?digest={DIGEST}", b"").status == 201
    assert pulled(client) == DATA


def test_how_far_an_upload_came(client: Client) -> None:
    where = begin(client)
    assert client("GET", where).header("Range") == "0-0"
    client("PATCH", where, DATA[:77])
    got = client("GET", where)
    assert got.status == 204
    assert got.header("Range") == "0-76"
    assert got.header("Location") == where


def test_a_cancelled_upload_is_gone(client: Client, registry: Serving) -> None:
    where = begin(client)
    assert client("DELETE", where).status == 204
    for method in ("GET", "PATCH", "DELETE", "PUT"):
        got = client(method, f"{where}?digest={DIGEST}", b"")
        assert (got.status, got.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert not unfinished(registry)


def test_an_upload_belongs_to_its_repository(client: Client) -> None:
    where = begin(client).replace("team/app", "team/other")
    assert client("PATCH", where, b"x").code == "BLOB_UPLOAD_UNKNOWN"


def test_an_upload_goes_on_after_the_server_was_started_again(tmp_path: Path) -> None:
    with serving(str(tmp_path)) as first:
        client = first.client()
        where = begin(client)
        client("PATCH", where, DATA[:5000])
        client.close()
    with serving(str(tmp_path)) as second:
        client = second.client()
        assert client("GET", where).header("Range") == "0-4999"
        got = client("PATCH", where, DATA[5000:9000], Content_Range="5000-8999")
        assert got.status == 202
        assert client("PUT", f"{where}?digest={DIGEST}", DATA[9000:]).status == 201
        assert pulled(client) == DATA
        client.close()


def test_what_a_lost_client_had_sent_is_kept(client: Client, registry: Serving) -> None:
    where = begin(client)
    with registry.raw() as link:
        head = f"PATCH {where} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n\r\n"
        link.sendall(head.encode() + DATA[:6000])
        link.shutdown(1)
        while link.recv(4096):
            pass
    assert client("GET", where).header("Range") == "0-5999"
    got = client("PUT", f"{where}?digest={DIGEST}", DATA[6000:], Content_Range="6000-10239")
    assert got.status == 201


def test_the_latest_of_two_writers_goes_on(client: Client, registry: Serving) -> None:
    """A connection that is dead without the server's knowledge must not hold an upload."""
    where = begin(client)
    with registry.raw() as dead:
        head = f"PATCH {where} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n\r\n"
        dead.sendall(head.encode() + DATA[:100])
        while client("GET", where).header("Range") != "0-99":
            pass
        assert client("PATCH", where, DATA[100:], Content_Range="100-10239").status == 202
        dead.sendall(b"rubbish")
        assert b"409" in dead.recv(4096).split(b"\r\n")[0]
    assert client("PUT", f"{where}?digest={DIGEST}", b"").status == 201


@pytest.mark.parametrize("how", ["post", "put", "patch"])
def test_bytes_with_another_digest_are_never_seen(
    client: Client, registry: Serving, how: str
) -> None:
    if how == "post":
        got = client("POST", f"{UPLOADS}?digest={DIGEST}", b"other")
    else:
        where = begin(client)
        if how == "patch":
            client("PATCH", where, b"oth")
        got = client("PUT", f"{where}?digest={DIGEST}", b"other" if how == "put" else b"er")
    assert (got.status, got.code) == (400, "DIGEST_INVALID")
    assert sha256(b"other") in got.text
    assert client("HEAD", f"/v2/team/app/blobs/{DIGEST}").status == 404
    assert list(registry.service.shelf.store.walk()) == []
    assert not unfinished(registry)


@pytest.mark.parametrize(
    "text", ["", "sha256:xyz", "md5:" + "a" * 32, "sha256:" + "A" * 64, "..%2F"]
)
def test_digests_that_are_none(client: Client, text: str) -> None:
    assert client("PUT", f"{begin(client)}?digest={text}", DATA).code == "DIGEST_INVALID"
    assert client("POST", f"{UPLOADS}?digest={text}", DATA).code == "DIGEST_INVALID"
    assert client("POST", f"{UPLOADS}?mount={text}", b"").code == "DIGEST_INVALID"
    if text:
        assert client("GET", f"/v2/team/app/blobs/{text}").status in (400, 404)


def test_an_upload_ends_with_a_digest(client: Client) -> None:
    assert client("PUT", begin(client), DATA).code == "DIGEST_INVALID"


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("how", ["put", "patch", "post"])
def test_sha512(client: Client, told: bool, how: str) -> None:
    digest = digests.of(DATA, "sha512")
    if how == "post":
        assert client("POST", f"{UPLOADS}?digest={digest}", DATA).status == 201
    else:
        where = begin(client, "?digest-algorithm=sha512" if told else "")
        if how == "patch":
            client("PATCH", where, DATA)
        got = client("PUT", f"{where}?digest={digest}", DATA if how == "put" else b"")
        assert got.status == 201
    assert pulled(client, digest) == DATA


def test_an_algorithm_that_nobody_knows(client: Client) -> None:
    got = client("POST", f"{UPLOADS}?digest-algorithm=md5", b"")
    assert (got.status, got.code) == (400, "UNSUPPORTED")


def test_an_empty_blob(client: Client) -> None:
    digest = client.push_blob("team/app", b"")
    assert pulled(client, digest) == b""
    got = client("GET", f"/v2/team/app/blobs/{digest}", Range="bytes=0-")
    assert got.status == 416


def test_mount_from_another_repository(client: Client) -> None:
    client.push_blob("team/app", DATA)
    got = client("POST", f"/v2/new/blobs/uploads/?mount={DIGEST}&from=team/app", b"")
    assert got.status == 201
    assert got.header("Location") == f"/v2/new/blobs/{DIGEST}"
    assert pulled(client, repository="new") == DATA


def test_mount_from_wherever_it_is(client: Client) -> None:
    client.push_blob("team/app", DATA)
    assert client("POST", f"/v2/new/blobs/uploads/?mount={DIGEST}", b"").status == 201


@pytest.mark.parametrize("query", ["", "&from=elsewhere", "&from=never/made"])
def test_mount_of_what_is_not_there_begins_an_upload(client: Client, query: str) -> None:
    client.push_blob("elsewhere", b"something")
    got = client("POST", f"/v2/new/blobs/uploads/?mount={DIGEST}{query}", b"")
    assert got.status == 202
    assert client("PUT", f"{got.header('Location')}?digest={DIGEST}", DATA).status == 201


def test_mount_from_no_name(client: Client) -> None:
    got = client("POST", f"{UPLOADS}?mount={DIGEST}&from=../x", b"")
    assert (got.status, got.code) == (400, "NAME_INVALID")


def test_repositories_do_not_see_each_others_blobs(client: Client) -> None:
    client.push_blob("team/app", DATA)
    got = client("GET", f"/v2/team/other/blobs/{DIGEST}")
    assert (got.status, got.code) == (404, "BLOB_UNKNOWN")


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=500-1499", 500, 1499),
        ("bytes=10000-", 10000, 10239),
        ("bytes=-240", 10000, 10239),
        ("bytes=-99999", 0, 10239),
        ("bytes=10200-99999", 10200, 10239),
    ],
)
def test_ranges(client: Client, text: str, first: int, last: int) -> None:
    client.push_blob("team/app", DATA)
    got = client("GET", f"/v2/team/app/blobs/{DIGEST}", Range=text)
    assert got.status == 206
    assert got.header("Content-Range") == f"bytes {first}-{last}/{len(DATA)}"
    assert got.body == DATA[first : last + 1]


def test_a_range_beyond_the_end(client: Client) -> None:
    client.push_blob("team/app", DATA)
    got = client("GET", f"/v2/team/app/blobs/{DIGEST}", Range="bytes=10240-")
    assert got.status == 416
    assert got.header("Content-Range") == "bytes */10240"


def test_a_range_of_another_state_is_the_whole(client: Client) -> None:
    client.push_blob("team/app", DATA)
    path = f"/v2/team/app/blobs/{DIGEST}"
    assert client("GET", path, Range="bytes=5-", If_Range='"other"').status == 200
    assert client("GET", path, Range="bytes=5-", If_Range=f'"{DIGEST}"').status == 206


def test_head_and_etag(client: Client) -> None:
    client.push_blob("team/app", DATA)
    path = f"/v2/team/app/blobs/{DIGEST}"
    got = client("HEAD", path)
    assert (got.status, got.body) == (200, b"")
    assert got.header("Content-Length") == str(len(DATA))
    assert got.header("Accept-Ranges") == "bytes"
    again = client("GET", path, If_None_Match=got.header("ETag"))
    assert (again.status, again.body) == (304, b"")
    assert client("GET", path, If_None_Match='"other"').body == DATA


def test_delete(client: Client) -> None:
    client.push_blob("team/app", DATA)
    client.push_blob("team/other", DATA)
    path = f"/v2/team/app/blobs/{DIGEST}"
    assert client("DELETE", path).status == 202
    assert client("HEAD", path).status == 404
    assert client("DELETE", path).code == "BLOB_UNKNOWN"
    assert pulled(client, repository="team/other") == DATA


def test_many_at_once(registry: Serving) -> None:
    blobs = [os.urandom(300_000) for _ in range(6)]
    failures: list[object] = []

    def push_and_pull(number: int) -> None:
        client = registry.client()
        try:
            for data in blobs:
                digest = client.push_blob(f"r{number}", data)
                assert pulled(client, digest, f"r{number}") == data
        except BaseException as error:
            failures.append(error)
        finally:
            client.close()

    threads = [threading.Thread(target=push_and_pull, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failures
    assert {each.digest for each in registry.service.shelf.store.walk()} == set(map(sha256, blobs))


def test_a_blob_that_was_lost_from_the_disk(client: Client, registry: Serving) -> None:
    client.push_blob("team/app", DATA)
    os.unlink(registry.service.shelf.store.path(DIGEST))
    got = client("GET", f"/v2/team/app/blobs/{DIGEST}")
    assert (got.status, got.text) == (500, f"blob {DIGEST} is lost: push it again")
    client.push_blob("team/app", DATA)
    assert pulled(client) == DATA


def test_the_bytes_are_those_of_the_digest(client: Client) -> None:
    client.push_blob("team/app", DATA)
    assert hashlib.sha256(pulled(client)).hexdigest() == DIGEST.partition(":")[2]


def test_nothing_is_added_to_an_upload_that_becomes_a_blob(
    client: Client, registry: Serving
) -> None:
    """Whoever still had the file open would write into the blob, which all repositories share."""
    where = begin(client)
    assert client("PATCH", where, DATA).status == 202
    done: list[int] = []

    def finish() -> None:
        ending = registry.client()
        done.append(ending("PUT", f"{where}?digest={DIGEST}", b"").status)
        ending.close()

    # The end waits for this lock between taking the digest and giving the blob its name.
    with registry.service.shelf.catalogue.writing():
        thread = threading.Thread(target=finish)
        thread.start()
        upload = registry.service.shelf.uploads.find("team/app", where.rpartition("/")[2])
        wait_until(lambda: upload.ends)
        got = client("PATCH", where, b"more")
        again = client("PUT", f"{where}?digest={DIGEST}", b"")
    thread.join()
    assert (got.status, again.status, done) == (409, 409, [201])
    assert registry.service.shelf.store.stat(DIGEST) == len(DATA)
    registry.service.shelf.store.verify(DIGEST)
