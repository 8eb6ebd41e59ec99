"""The state that must survive a reboot: one SQLite file, reached through a small pool.

Rules kept here:

* WAL, STRICT tables, foreign keys; every write is one short BEGIN IMMEDIATE.
* No connection lives over a fork. SQLite keeps the locks of a file per process
  and would believe, in the child, that it holds its parent's; so idle
  connections are closed before this process forks, and busy ones awaited.
* A write says whether it is ``durable``. Durable ones are synced to disk
  before they return; the others (containers with ``--rm``, which do not outlive
  a reboot) only keep the file consistent. docs/design/engine.md has the figures.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from knarr import errors
from knarr.engine import schema
from knarr.engine.translate import translated

BUSY_SECONDS = 60.0
_KEEP_IDLE = 8


class Store:
    """A pool of connections to ``<data_root>/knarr.db``; safe to share between threads."""

    def __init__(self, data_root: str) -> None:
        self.path = os.path.join(data_root, "knarr.db")
        self._data_root = data_root
        self._idle: list[_Connection] = []
        self._busy = 0
        self._changed = threading.Condition(threading.Lock())
        _stores.add(self)

    def __del__(self) -> None:
        # sqlite3's own objects form a cycle and would stay open until the next
        # garbage collection, where the fork hooks do not see them any more.
        for connection in self._idle:
            connection.raw.close()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for single SELECTs; each sees the last committed state.

        Raises Unavailable, ResourceExhausted, Forbidden or Internal for errors of the database.
        """
        with translated("state"):
            connection = self._take()
            try:
                yield connection.raw
            finally:
                self._give(connection)

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Lend a connection inside one write transaction; commit at the end, roll back on error.

        IntegrityError passes through, since only the caller knows what a
        violated constraint means. Other errors as for :meth:`read`.
        """
        with translated("state"):
            connection = self._take()
            try:
                connection.set_durable(durable)
                connection.raw.execute("BEGIN IMMEDIATE")
                try:
                    yield connection.raw
                    connection.raw.execute("COMMIT")
                except sqlite3.IntegrityError as error:
                    connection.rollback()
                    raise ConstraintViolation(str(error)) from error
                except BaseException:  # also a signal's: no transaction stays open
                    connection.rollback()
                    raise
            finally:
                self._give(connection)

    def change(self, statement: str, values: tuple[object, ...], *, durable: bool) -> int:
        """Carry out one statement, a transaction by itself; return how many rows it changed.

        Cheaper than :meth:`write`, and raises the same.
        """
        with translated("state"):
            connection = self._take()
            try:
                connection.set_durable(durable)
                return connection.raw.execute(statement, values).rowcount
            except sqlite3.IntegrityError as error:
                raise ConstraintViolation(str(error)) from error
            finally:
                self._give(connection)

    def close(self) -> None:
        """Close the idle connections; the store opens new ones when it is used again."""
        with self._changed:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.raw.close()

    def _take(self) -> _Connection:
        with self._changed:
            self._busy += 1
            if self._idle:
                return self._idle.pop()
        try:
            return _Connection(self._open())
        except BaseException:  # also a signal's: who waits for a connection counts on it
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()
            raise

    def _give(self, connection: _Connection) -> None:
        with self._changed:
            self._busy -= 1
            keep = len(self._idle) < _KEEP_IDLE
            if keep:
                self._idle.append(connection)
            self._changed.notify_all()
        if not keep:
            connection.raw.close()

    def _open(self) -> sqlite3.Connection:
        """Return a new connection to a database whose schema is this release's."""
        if not os.path.exists(self.path):
            os.makedirs(self._data_root, mode=0o711, exist_ok=True)
        raw = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            version = raw.execute("PRAGMA user_version").fetchone()[0]
            if version != schema.VERSION:
                self._migrate(raw)
            raw.execute("PRAGMA foreign_keys=ON")
        except BaseException:  # also a signal's: nobody else knows the connection
            raw.close()
            raise
        return raw

    def _migrate(self, raw: sqlite3.Connection) -> None:
        """Bring the file to this release's schema, one process at a time.

        The switch to WAL does not wait for others by itself (SQLite calls no
        busy handler there), hence the lock file around it.
        """
        lock = os.open(self.path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            schema.migrate(raw, self.path)
            os.chmod(self.path, 0o600)
        finally:
            os.close(lock)

    def before_fork(self) -> None:
        """Close every connection; returns holding the pool's lock, so that none is opened."""
        self._changed.acquire()
        while self._busy:
            self._changed.wait()
        for connection in self._idle:
            connection.raw.close()
        self._idle.clear()

    def after_fork(self) -> None:
        """Release what :meth:`before_fork` took; runs in the parent and in the child."""
        self._changed.release()


class ConstraintViolation(errors.Internal):
    """A UNIQUE, CHECK or foreign key constraint refused a write; str() is SQLite's text."""


class _Connection:
    """A connection and how durable its next commit is."""

    __slots__ = ("_durable", "raw")

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw
        self._durable: bool | None = None

    def set_durable(self, durable: bool) -> None:
        """Sync each commit (FULL), or only before a checkpoint (NORMAL: consistent, not last)."""
        if durable != self._durable:
            self.raw.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable

    def rollback(self) -> None:
        if self.raw.in_transaction:
            self.raw.execute("ROLLBACK")


# The stores of this process, for the fork hooks: Python offers no way to take a
# hook back, so it is registered once and looks here.
_stores: weakref.WeakSet[Store] = weakref.WeakSet()
_forking: list[Store] = []


def _before_fork() -> None:
    for store in list(_stores):
        store.before_fork()
        _forking.append(store)


def _after_fork() -> None:
    while _forking:
        _forking.pop().after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
