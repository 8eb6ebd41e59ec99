"""The database: schema, forks, threads, many writers at once."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest

from knarr import errors
from knarr.engine import schema
from knarr.engine.store import ConstraintViolation, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def _count(store: Store) -> int:
    with store.read() as db:
        return int(db.execute("SELECT count(*) FROM images").fetchone()[0])


def _add(store: Store, name: str, *, durable: bool = False) -> None:
    with store.write(durable=durable) as db:
        db.execute("INSERT INTO images VALUES (?, '{}')", (name,))


def test_a_new_file_has_the_schema_and_is_private(store: Store, tmp_path: Path) -> None:
    assert _count(store) == 0
    with store.read() as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert db.execute("PRAGMA foreign_keys").fetchone()[0] == 1
    assert (tmp_path / "knarr.db").stat().st_mode & 0o777 == 0o600


def test_durable_writes_are_synced_and_others_not(store: Store) -> None:
    for durable, level in ((True, 2), (False, 1), (True, 2)):
        with store.write(durable=durable) as db:
            assert db.execute("PRAGMA synchronous").fetchone()[0] == level


def test_a_failed_write_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write() as db:
        db.execute("INSERT INTO images VALUES ('a', '{}')")
        raise RuntimeError
    assert _count(store) == 0


def test_a_violated_constraint_is_told_apart(store: Store) -> None:
    _add(store, "a")
    with pytest.raises(ConstraintViolation, match=r"images\.id"):
        _add(store, "a")
    _add(store, "b")
    assert _count(store) == 2


def test_types_are_strict(store: Store) -> None:
    with pytest.raises(ConstraintViolation), store.write() as db:
        db.execute("INSERT INTO counters VALUES ('x', 'not a number')")


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    raw = sqlite3.connect(tmp_path / "knarr.db")
    raw.execute("PRAGMA user_version=999")
    raw.close()
    with pytest.raises(errors.Unsupported, match="newer knarr"), Store(str(tmp_path)).read():
        pass


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "knarr.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(errors.Internal, match="state database"), Store(str(tmp_path)).read():
        pass


def test_it_can_be_closed_and_used_again(store: Store) -> None:
    _add(store, "a")
    store.close()
    assert _count(store) == 1


def test_fifty_threads_write_without_a_locked_database(store: Store) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(4):
                _add(store, f"{number}-{step}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert _count(store) == 200


def _fork(work: object) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            assert callable(work)
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def test_fifty_processes_open_and_write_at_once(tmp_path: Path) -> None:
    """Each opens the missing file by itself: creation, WAL and schema race too."""

    def work(number: int) -> None:
        mine = Store(str(tmp_path))
        for step in range(3):
            _add(mine, f"{number}-{step}")

    pids = [_fork(lambda number=number: work(number)) for number in range(50)]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 50
    assert _count(Store(str(tmp_path))) == 150


def test_a_fork_carries_no_connection_over(store: Store, tmp_path: Path) -> None:
    """Parent and child go on with the same object; neither disturbs the other's locks."""
    _add(store, "before")

    def child() -> None:
        assert not [name for name in os.listdir("/proc/self/fd") if _is_database(name)]
        _add(store, "child")
        store.close()

    pid = _fork(child)
    _add(store, "parent")
    assert os.waitpid(pid, 0)[1] == 0
    assert _count(store) == 3
    with store.read() as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def _is_database(descriptor: str) -> bool:
    try:
        return "knarr.db" in os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return False


def test_a_fork_waits_for_the_writes_of_other_threads(store: Store) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def writer() -> None:
        with store.write(durable=False) as db:
            db.execute("INSERT INTO images VALUES ('slow', '{}')")
            inside.set()
            go_on.wait()

    thread = threading.Thread(target=writer)
    thread.start()
    inside.wait()
    threading.Timer(0.05, go_on.set).start()
    pid = _fork(lambda: _add(store, "child"))
    thread.join()
    assert os.waitpid(pid, 0)[1] == 0
    assert _count(store) == 2
