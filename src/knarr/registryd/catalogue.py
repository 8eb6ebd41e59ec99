"""The SQLite file of a registry: repositories, tags, manifests, and who has which blob.

Whoever writes holds the one write lock of the database, across processes. A blob's file gets and
loses its name only under that lock, together with the rows that speak of it: so a row always has
its file, and the collector never takes a file whose row is just being written.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Iterator

from knarr.errors import Unavailable

_PATIENCE = 60.0  # seconds for another process to end its transaction
_KEPT = 16  # connections that stay open

_SCHEMA = """
CREATE TABLE repository (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    upstream TEXT -- HOST/PATH that it is a copy of
);
CREATE TABLE blob (
    repository INTEGER NOT NULL REFERENCES repository (id),
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    asked REAL NOT NULL, -- when it was pushed or last asked for, from when on the collector waits
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX blob_by_digest ON blob (digest);
CREATE TABLE manifest (
    repository INTEGER NOT NULL REFERENCES repository (id),
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    subject TEXT, -- digest of the manifest that this one is about
    artifact_type TEXT, -- as referrers are told it
    annotations TEXT, -- JSON object, of those with a subject
    pushed REAL NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX manifest_by_digest ON manifest (digest);
CREATE INDEX manifest_by_subject ON manifest (repository, subject, digest)
    WHERE subject IS NOT NULL;
CREATE TABLE reference ( -- which blobs and manifests a manifest needs
    repository INTEGER NOT NULL REFERENCES repository (id),
    manifest TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (repository, manifest, digest)
) WITHOUT ROWID;
CREATE INDEX reference_by_digest ON reference (repository, digest);
CREATE TABLE tag (
    repository INTEGER NOT NULL REFERENCES repository (id),
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    pushed REAL NOT NULL,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;
CREATE INDEX tag_by_digest ON tag (repository, digest);
"""
_VERSION = 1


class Catalogue:
    """The database in one file, for many threads and processes."""

    def __init__(self, path: str) -> None:
        """Open it, made where it is missing. Raises Unavailable for one of another version."""
        self.path = path
        self._writer = threading.Lock()
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with self.writing() as db:
            version: int = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_VERSION}")
        if version not in (0, _VERSION):
            self.close()
            raise Unavailable(
                f"registry {path} is of version {version}, not {_VERSION}: use a newer knarr"
            )

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that sees one state of the database throughout."""
        with self._connection() as db:
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("ROLLBACK")

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection in a transaction that is durable at the end, undone by an exception."""
        with self._writer, self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._idle.get_nowait()
        except queue.Empty:
            db = self._open()
        try:
            yield db
        except sqlite3.Error:
            db.close()
            raise
        except BaseException:
            self._put_back(db)
            raise
        self._put_back(db)

    def _put_back(self, db: sqlite3.Connection) -> None:
        if db.in_transaction or self._idle.qsize() >= _KEPT:
            db.close()
        else:
            self._idle.put(db)

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        return db


def find(db: sqlite3.Connection, name: str) -> int | None:
    """Return the number of a repository, None when it is not there."""
    row = db.execute("SELECT id FROM repository WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def need(db: sqlite3.Connection, name: str, upstream: str | None = None) -> int:
    """Return the number of a repository, which begins to exist with it.

    upstream: what it is a copy of, if it has to be made.
    """
    found = find(db, name)
    if found is None:
        found = db.execute(
            "INSERT INTO repository (name, upstream) VALUES (?, ?)", (name, upstream)
        ).lastrowid
    assert found is not None
    return found
