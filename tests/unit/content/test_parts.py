"""Parts: taken up, let go of, and settled by whoever comes first."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from knarr.content import digest as digests
from knarr.content import parts
from knarr.content.parts import Part
from knarr.content.store import ContentStore
from knarr.errors import InvalidArchive

DATA = b"some bytes of a blob"
NAME = digests.of(DATA)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(str(tmp_path))


def taken(store: ContentStore) -> Part:
    part = parts.open_part(store, NAME, len(DATA))
    assert part is not None
    part.take_up()
    return part


def whole(store: ContentStore) -> Part:
    part = taken(store)
    part.write(memoryview(DATA)[part.size :])
    part.let_go()
    return part


def test_one_writes_and_the_next_goes_on(store: ContentStore) -> None:
    with taken(store) as first:
        first.write(memoryview(DATA)[:4])
        assert parts.open_part(store, NAME, len(DATA)) is None
    with taken(store) as second:
        assert second.size == 4
        second.write(memoryview(DATA)[4:])
        second.commit()
    assert store.read(NAME) == DATA
    assert parts.sizes(store) == {}


def test_let_go_only_whole_and_right(store: ContentStore) -> None:
    with taken(store) as part:
        part.write(memoryview(DATA)[1:])
        with pytest.raises(InvalidArchive, match="bytes, not the"):
            part.let_go()


@pytest.mark.parametrize(("publish", "left"), [(True, {NAME}), (False, set())])
def test_two_have_it_and_each_settles(store: ContentStore, publish: bool, left: set[str]) -> None:
    first, second = whole(store), whole(store)
    first.settle(publish=publish)
    second.settle(publish=publish)
    assert {blob.digest for blob in store.walk()} == left
    assert parts.sizes(store) == {}


def test_a_new_part_of_somebody_else_stays(store: ContentStore) -> None:
    first, second = whole(store), whole(store)
    first.settle(publish=False)
    with taken(store) as third:
        assert third.size == 0
        third.write(memoryview(b"so"))
        second.settle(publish=False)
        assert parts.sizes(store) == {NAME: 2}


@pytest.mark.parametrize(
    "harm", [lambda p: os.truncate(p, 3), lambda p: Path(p).write_bytes(b"x" * 20)]
)
def test_damaged_since_it_was_let_go(store: ContentStore, harm: Callable[[str], None]) -> None:
    part = whole(store)
    harm(part.path)
    os.utime(part.path, (1, 1))
    with part, pytest.raises(InvalidArchive):
        part.settle(publish=True)
    assert not store.has(NAME)


def test_a_file_that_is_a_blob_as_well(store: ContentStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    for _ in range(2):
        store.link(str(path), NAME)
    assert os.path.samefile(path, store.path(NAME))
    assert path.stat().st_mode & 0o777 == 0o444
    path.unlink()
    assert store.read(NAME) == DATA
    with pytest.raises(FileNotFoundError):
        store.link(str(path), digests.of(b"other"))
