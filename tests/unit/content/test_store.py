from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from knarr.content import digest
from knarr.content.store import Blob, ContentStore
from knarr.errors import InvalidArchive, InvalidArgument, NotFound

DATA = b"some bytes" * 1000
NAME = digest.of(DATA)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(str(tmp_path / "content"))


def _files(store: ContentStore) -> list[str]:
    return sorted(str(each) for each in Path(store.root).rglob("*") if each.is_file())


def test_in_and_out(store: ContentStore) -> None:
    with store.ingest(NAME, len(DATA)) as writer:
        assert writer.write(DATA[:7]) == 7
        writer.write(memoryview(DATA)[7:])
        assert not store.has(NAME)
        assert writer.commit() == Blob(NAME, len(DATA))
    assert store.has(NAME)
    assert store.stat(NAME) == len(DATA)
    assert store.read(NAME) == DATA
    with store.open(NAME) as file:
        assert file.read() == DATA
    assert list(store.walk()) == [Blob(NAME, len(DATA))]
    assert _files(store) == [store.path(NAME)]
    assert os.stat(store.path(NAME)).st_mode & 0o777 == 0o444
    store.verify(NAME)
    store.delete(NAME)
    assert _files(store) == []


def test_sha512(store: ContentStore) -> None:
    name = digest.of(DATA, "sha512")
    assert store.add(DATA, name).digest == name
    assert store.add(DATA).digest == NAME
    store.verify(name)
    assert {blob.digest for blob in store.walk()} == {name, NAME}


def test_nothing_is_kept_without_commit(store: ContentStore) -> None:
    with store.ingest() as writer:
        writer.write(DATA)
    assert _files(store) == []
    with pytest.raises(ZeroDivisionError), store.ingest() as writer:
        writer.write(DATA)
        raise ZeroDivisionError
    assert _files(store) == []


@pytest.mark.parametrize(
    ("expected", "size"),
    [(digest.of(b"else"), None), (NAME, len(DATA) + 1), (digest.of(b"else", "sha512"), None)],
)
def test_what_differs_is_refused(store: ContentStore, expected: str, size: int | None) -> None:
    with pytest.raises(InvalidArchive), store.ingest(expected, size) as writer:
        writer.write(DATA)
        writer.commit()
    assert _files(store) == []


def test_too_much_is_refused_at_once(store: ContentStore) -> None:
    with pytest.raises(InvalidArchive, match="longer"), store.ingest(NAME, 10) as writer:
        writer.write(DATA)


def test_absent_and_malformed(store: ContentStore) -> None:
    for call in (store.open, store.stat, store.read, store.delete, store.verify):
        with pytest.raises(NotFound):
            call(NAME)
        with pytest.raises(InvalidArgument):
            call("sha256:../../x")
    with pytest.raises(InvalidArgument):
        store.ingest("md5:00")
    with pytest.raises(InvalidArgument):
        store.ingest(None, -1)


def test_damage_is_found(store: ContentStore) -> None:
    store.add(DATA)
    path = Path(store.path(NAME))
    path.chmod(0o600)
    path.write_bytes(DATA[:-1] + b"?")
    with pytest.raises(InvalidArchive, match="damaged"):
        store.verify(NAME)
    with pytest.raises(InvalidArchive, match="damaged"):
        store.read(NAME)
    store.add(DATA)
    store.verify(NAME)


def test_read_has_a_limit(store: ContentStore) -> None:
    store.add(DATA)
    with pytest.raises(InvalidArgument, match="more than"):
        store.read(NAME, limit=len(DATA) - 1)
    assert store.read(NAME, limit=len(DATA)) == DATA


def test_a_finished_writer_refuses(store: ContentStore) -> None:
    writer = store.ingest()
    writer.commit()
    writer.abort()
    for call in (lambda: writer.write(b"x"), writer.commit):
        with pytest.raises(ValueError, match="finished"):
            call()
    assert store.read(digest.of(b"")) == b""


def test_many_writers_of_one_blob(store: ContentStore) -> None:
    def write() -> None:
        with store.ingest(NAME) as writer:
            for start in range(0, len(DATA), 100):
                writer.write(DATA[start : start + 100])
            writer.commit()

    threads = [threading.Thread(target=write) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert store.read(NAME) == DATA
    assert _files(store) == [store.path(NAME)]


def _die_while_writing(root: str) -> None:
    writer = ContentStore(root).ingest()
    writer.write(DATA)
    os._exit(0)


def test_cleanup_takes_only_what_the_dead_left(store: ContentStore) -> None:
    child = multiprocessing.get_context("fork").Process(
        target=_die_while_writing, args=(store.root,)
    )
    child.start()
    child.join()
    with store.ingest() as living:
        living.write(DATA)
        assert len(os.listdir(os.path.join(store.root, "ingest"))) == 2
        assert store.cleanup(older_than=3600) == 0
        assert store.cleanup() == 1
        assert living.commit().digest == NAME
    assert store.cleanup() == 0
    assert store.read(NAME) == DATA


def test_strangers_are_not_blobs(store: ContentStore) -> None:
    (Path(store.root) / "blobs/sha256/README").write_text("x")
    assert list(store.walk()) == []
