from __future__ import annotations

import pytest

from knarr.errors import InvalidArgument
from knarr.registryd.upstreams import Copy, Upstream, find, parse, parse_all


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("docker.io", Upstream("docker.io", "docker.io")),
        ("index.docker.io", Upstream("docker.io", "docker.io")),
        ("hub=registry-1.docker.io", Upstream("hub", "docker.io")),
        ("=docker.io", Upstream("", "docker.io")),
        ("a/b=localhost:5000", Upstream("a/b", "localhost:5000")),
    ],
)
def test_what_is_said(text: str, wanted: Upstream) -> None:
    assert parse(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "x=", "localhost:5000", "A=ghcr.io", "a//b=ghcr.io", "../x=y", "a b"]
)
def test_what_makes_no_sense(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(text)


@pytest.mark.parametrize("texts", [("ghcr.io", "x=ghcr.io"), ("x=ghcr.io", "x=quay.io")])
def test_twice(texts: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument, match="there twice"):
        parse_all(texts)


KNOWN = parse_all(("hub=docker.io", "ghcr.io", "=quay.io"))


@pytest.mark.parametrize(
    ("repository", "namespace", "wanted"),
    [
        ("hub/busybox", None, Copy("hub/library/busybox", "docker.io", "library/busybox")),
        ("hub/a/b", None, Copy("hub/a/b", "docker.io", "a/b")),
        ("ghcr.io/a", None, Copy("ghcr.io/a", "ghcr.io", "a")),
        ("library/x", "docker.io", Copy("hub/library/x", "docker.io", "library/x")),
        ("library/x", "index.docker.io", Copy("hub/library/x", "docker.io", "library/x")),
        ("a/b", "quay.io", Copy("a/b", "quay.io", "a/b")),
        ("a/b", "elsewhere.io", None),
        ("a/b", None, Copy("a/b", "quay.io", "a/b")),
        ("hub", None, Copy("hub", "quay.io", "hub")),
    ],
)
def test_whose_copy(repository: str, namespace: str | None, wanted: Copy | None) -> None:
    assert find(KNOWN, repository, namespace) == wanted


def test_nobodys_copy() -> None:
    assert find(parse_all(("ghcr.io",)), "a/b", None) is None
