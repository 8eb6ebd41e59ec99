from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.registryd import uploads
from knarr.registryd.quotas import Quota, Quotas
from knarr.registryd.service import Options
from tests.support.registries import Client, serving, sha256

BIG = bytes(60_000)


OPTIONS = Options(quotas=Quotas((Quota("*", 200_000), Quota("team/*", 100_000))))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A registry where all together may have 200,000 bytes, and team/* 100,000 of them."""
    with serving(str(tmp_path / "registry"), OPTIONS) as made:
        client = made.client()
        yield client
        client.close()


@pytest.mark.parametrize("how", ["post", "put", "patch", "chunks"])
def test_what_is_too_much_is_refused(client: Client, how: str, tmp_path: Path) -> None:
    client.push_blob("team/a", BIG)
    data = b"x" * 50_000
    path = "/v2/team/b/blobs/uploads/"
    if how == "post":
        got = client("POST", f"{path}?digest={sha256(data)}", data)
    else:
        where = client("POST", path, b"").header("Location")
        if how == "chunks":
            client("PATCH", where, data[:30_000])
            got = client("PATCH", where, (each for each in (data[30_000:],)),
                         Transfer_Encoding="chunked")  # fmt: skip
        elif how == "patch":
            got = client("PATCH", where, data)
        else:
            got = client("PUT", f"{where}?digest={sha256(data)}", data)
    assert (got.status, got.code) == (413, "DENIED")
    assert got.text == (
        "the quota of repositories team/* is 0.1 MB, 60000 bytes are used: no room for "
        "50000 bytes; delete something first"
    )
    client.push_blob("elsewhere", data)


def test_what_is_there_already_takes_no_room(client: Client) -> None:
    client.push_blob("team/a", BIG)
    client.push_blob("team/a", BIG)
    for name in ("team/b", "team/c"):
        got = client("POST", f"/v2/{name}/blobs/uploads/?mount={sha256(BIG)}", b"")
        assert got.status == 201
    client.push_image("team/a", "v1")


def test_mounts_and_manifests_count(client: Client) -> None:
    client.push_blob("elsewhere", b"y" * 60_000)
    client.push_blob("team/a", BIG)
    got = client("POST", f"/v2/team/a/blobs/uploads/?mount={sha256(b'y' * 60_000)}", b"")
    assert (got.status, got.code) == (413, "DENIED")
    big = b'{"annotations": {"x": "%s"}}' % (b"x" * 50_000)
    assert client.push_manifest("team/a", "big", big).code == "DENIED"
    assert client("GET", "/v2/team/a/manifests/big").status == 404


def test_what_is_deleted_makes_room(client: Client) -> None:
    client.push_blob("team/a", BIG)
    client("DELETE", f"/v2/team/a/blobs/{sha256(BIG)}")
    client.push_blob("team/b", b"z" * 90_000)


def test_all_together(client: Client) -> None:
    for number in range(3):
        client.push_blob(f"r{number}", bytes([number]) * 60_000)
    got = client("POST", f"/v2/x/blobs/uploads/?digest={sha256(b'x' * 30_000)}", b"x" * 30_000)
    assert got.text.startswith("the quota of the registry is 0.2 MB, 0.2 MB are used")


def begun(client: Client, repository: str, data: bytes) -> str:
    """Upload something and do not finish it; return the upload's address."""
    where = client("POST", f"/v2/{repository}/blobs/uploads/", b"").header("Location")
    assert client("PATCH", where, data).status == 202
    return where


def test_what_is_not_finished_counts(client: Client) -> None:
    first = begun(client, "team/a", BIG)
    data = b"x" * 50_000
    for repository, status in (("team/b", 413), ("elsewhere", 201)):
        path = f"/v2/{repository}/blobs/uploads/?digest={sha256(data)}"
        assert client("POST", path, data).status == status
    got = client("PATCH", client("POST", "/v2/team/b/blobs/uploads/", b"").header("Location"), data)
    assert got.text == (
        "the quota of repositories team/* is 0.1 MB, 0 bytes are used, 60000 bytes more by "
        "unfinished uploads: no room for 50000 bytes; delete something first"
    )
    # What was mounted and pushed otherwise has no room either.
    got = client("POST", f"/v2/team/a/blobs/uploads/?mount={sha256(data)}&from=elsewhere", b"")
    assert got.status == 413
    big = b'{"annotations": {"x": "%s"}}' % (b"x" * 50_000)
    assert client.push_manifest("team/a", "big", big).status == 413
    # It counts once: itself it goes on, and ends.
    assert client("PATCH", first, b"y" * 40_000).status == 202
    assert client("PUT", f"{first}?digest={sha256(BIG + b'y' * 40_000)}", b"").status == 201
    assert client("PATCH", first, b"y").status == 404


def test_what_was_cancelled_or_refused_does_not_count(client: Client) -> None:
    first = begun(client, "team/a", BIG)
    second = begun(client, "team/b", b"z" * 30_000)
    assert client("PATCH", second, b"z" * 20_000).status == 413
    assert client("GET", second).status == 404  # with its bytes, which nobody could go on with
    begun(client, "team/c", b"z" * 40_000)
    assert client("DELETE", first).status == 204
    client.push_blob("team/d", BIG)


def test_what_is_not_finished_counts_after_a_restart(tmp_path: Path) -> None:
    root = tmp_path / "registry"
    with serving(str(root), OPTIONS) as made:
        client = made.client()
        begun(client, "team/a", BIG)
        client.close()
    data = b"x" * 50_000
    for know in (True, False):
        if not know:  # lost by a crash: then it counts for the whole registry alone
            (root / "uploads" / sha256(b"team/a")[7:23]).write_text("tea")
        with serving(str(root), OPTIONS) as made:
            client = made.client()
            got = client("POST", f"/v2/team/b/blobs/uploads/?digest={sha256(data)}", data)
            assert got.status == (413 if know else 201)
            got = client("POST", f"/v2/x/blobs/uploads/?digest={sha256(data * 2)}", data * 2)
            assert got.status == (201 if know else 413)
            client("DELETE", f"/v2/x/blobs/{sha256(data * 2)}")
            client.close()


def test_who_needs_room_gets_that_of_abandoned_uploads(client: Client, tmp_path: Path) -> None:
    first, second = begun(client, "team/a", BIG), begun(client, "elsewhere", BIG)
    for path in (tmp_path / "registry/uploads").glob("*.*"):
        os.utime(path, (0, 0))
    client.push_blob("team/b", b"x" * 50_000)
    assert client("GET", first).status == 404
    assert client("GET", second).status == 204  # which was in nobody's way


def test_there_are_not_any_number_of_uploads(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_MOST", 3)
    where = [client("POST", "/v2/a/blobs/uploads/", b"").header("Location") for _ in range(3)]
    got = client("POST", "/v2/a/blobs/uploads/", b"")
    assert (got.status, got.code) == (429, "TOOMANYREQUESTS")
    client("DELETE", where[0])
    assert client("POST", "/v2/a/blobs/uploads/", b"").status == 202
