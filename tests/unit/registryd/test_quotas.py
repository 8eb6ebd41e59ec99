from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.registryd.quotas import Quota, Quotas
from knarr.registryd.service import Options
from tests.support.registries import Client, serving, sha256

BIG = bytes(60_000)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A registry where all together may have 200,000 bytes, and team/* 100,000 of them."""
    quotas = Quotas((Quota("*", 200_000), Quota("team/*", 100_000)))
    with serving(str(tmp_path / "registry"), Options(quotas=quotas)) as made:
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
