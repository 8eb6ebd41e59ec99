"""Parts of blobs: just what was asked for, from somebody who proved who he is."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from knarr.errors import InvalidArchive, NotFound, Unavailable, Unsupported
from knarr.registry import names, ranges
from knarr.registry.hosts import Hosts
from knarr.registry.patience import Patience
from knarr.registry.repository import Registry, Repository
from tests.support.fakeregistry import FakeRegistry, Request, digest_of, send, serving

DATA = os.urandom(100_000)
DIGEST = digest_of(DATA)
QUICK = Patience(attempts=2, connect=5.0, stall=1.0, total=2.0, first=0.001, most=0.01)


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with serving() as registry:
        registry.add_blob(DATA)
        yield registry


@pytest.fixture
def repository(fake: FakeRegistry) -> Iterator[Repository]:
    environ = {"HOME": "/nonexistent"}
    with Registry(fake.host, Hosts(()), environ=environ, patience=QUICK) as registry:
        yield registry.repository("app")


def test_the_part_that_was_asked_for(repository: Repository) -> None:
    for start, length in ((0, 1), (5000, 60_000), (99_999, 1), (0, 100_000)):
        found = ranges.fetch(repository, DIGEST, start, length, size=len(DATA))
        assert found == DATA[start : start + length]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("bytes 1-10/100000", "another part"),
        ("bytes 0-11/100000", "another part"),
        ("bytes 0-9/99999", "has 99999 bytes, not the 100000 announced"),
        ("nonsense", "another part"),
    ],
)
def test_another_part(fake: FakeRegistry, repository: Repository, said: str, error: str) -> None:
    def hook(request: Request) -> bool:
        if "Range" not in request.headers:
            return False
        request.reply(206, DATA[:10], {"Content-Range": said})
        return True

    fake.hooks.append(hook)
    with pytest.raises(InvalidArchive, match=error):
        ranges.fetch(repository, DIGEST, 0, 10, size=len(DATA))


def test_a_part_that_ends_early(fake: FakeRegistry, repository: Repository) -> None:
    def hook(request: Request) -> bool:
        if "Range" in request.headers:
            send(request, DATA, upto=5)
        return "Range" in request.headers

    fake.hooks.append(hook)
    with pytest.raises(Unavailable):
        ranges.fetch(repository, DIGEST, 0, 10, size=len(DATA))


def test_who_gives_no_parts(fake: FakeRegistry, repository: Repository) -> None:
    def deaf(request: Request) -> bool:
        del request.headers["Range"]
        return False

    fake.hooks.append(deaf)
    with pytest.raises(Unsupported, match="only as a whole"):
        ranges.fetch(repository, DIGEST, 0, 10, size=len(DATA))


def test_who_could_be_anybody(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    ranges.fetch(repository, DIGEST, 0, 10, size=len(DATA))  # which settles how it is asked
    monkeypatch.setattr(names, "is_loopback", lambda _host: False)
    with pytest.raises(Unsupported, match="plain HTTP, where anybody may answer"):
        ranges.fetch(repository, DIGEST, 0, 10, size=len(DATA))


def test_what_is_not_there(repository: Repository) -> None:
    with pytest.raises(NotFound):
        ranges.fetch(repository, digest_of(b"other"), 0, 10, size=100)
