from __future__ import annotations

import pytest

from tests.support.registries import Client


def test_tags_in_the_order_of_bytes(client: Client) -> None:
    _, body = client.push_image("team/app", "b")
    for tag in ("a", "B", "10", "9", "_x", "a.1"):
        client.push_manifest("team/app", tag, body)
    got = client("GET", "/v2/team/app/tags/list")
    assert got.header("Content-Type") == "application/json"
    assert got.json == {"name": "team/app", "tags": ["10", "9", "B", "_x", "a", "a.1", "b"]}


def test_pages_of_tags(client: Client) -> None:
    _, body = client.push_image("team/app", "t0")
    for number in range(1, 10):
        client.push_manifest("team/app", f"t{number}", body)
    path, found = "/v2/team/app/tags/list?n=4", []
    sizes = []
    while path:
        got = client("GET", path)
        found += got.json["tags"]
        sizes.append(len(got.json["tags"]))
        link = got.headers["Link"]
        path = link.partition(">")[0][1:] if link else ""
    assert found == [f"t{number}" for number in range(10)]
    assert sizes == [4, 4, 2]


def test_last_without_n_and_last_that_is_no_tag(client: Client) -> None:
    _, body = client.push_image("team/app", "a")
    client.push_manifest("team/app", "c", body)
    assert client("GET", "/v2/team/app/tags/list?last=a").json["tags"] == ["c"]
    assert client("GET", "/v2/team/app/tags/list?last=b").json["tags"] == ["c"]
    assert client("GET", "/v2/team/app/tags/list?last=c").json["tags"] == []


def test_none_are_none(client: Client) -> None:
    client.push_image("team/app", "a")
    got = client("GET", "/v2/team/app/tags/list?n=0")
    assert got.json["tags"] == []
    assert got.headers["Link"] is None


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "", "9" * 30, "٣"])
def test_a_number_that_is_none(client: Client, text: str) -> None:
    from urllib.parse import quote

    client.push_image("team/app", "a")
    assert client("GET", f"/v2/team/app/tags/list?n={quote(text)}").status == 400


def test_tags_of_what_is_not_there(client: Client) -> None:
    assert client("GET", "/v2/team/none/tags/list").code == "NAME_UNKNOWN"


def test_catalog(client: Client) -> None:
    for name in ("b/one", "a", "c"):
        client.push_image(name, "v1")
    client.push_blob("only-a-blob", b"x")
    assert client("GET", "/v2/_catalog").json == {"repositories": ["a", "b/one", "c"]}
    got = client("GET", "/v2/_catalog?n=2")
    assert got.json == {"repositories": ["a", "b/one"]}
    assert got.header("Link") == '</v2/_catalog?n=2&last=b%2Fone>; rel="next"'
    assert client("GET", "/v2/_catalog?n=2&last=b/one").json == {"repositories": ["c"]}
