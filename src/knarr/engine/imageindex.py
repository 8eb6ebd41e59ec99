"""``images.index.ImageIndex`` on the state database: records and names of images."""

from __future__ import annotations

import builtins
import json
import sqlite3

from knarr import errors
from knarr.engine.store import ConstraintViolation, Store
from knarr.images.index import ImageRecord, IndexRecord


class StoredImageIndex:
    """Image records, indexes and names in the tables ``images``, ``indexes`` and ``tags``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, record: ImageRecord) -> None:
        """Store the record durably; one with the same id is replaced and keeps its names."""
        text = json.dumps(record.to_dict(), separators=(",", ":"))
        with self._store.write() as db:
            db.execute(
                "INSERT INTO images (id, record) VALUES (?, ?) "
                "ON CONFLICT (id) DO UPDATE SET record = excluded.record",
                (record.id, text),
            )

    def get(self, image_id: str) -> ImageRecord:
        """Return the record with this full id. Raises NotFound."""
        with self._store.read() as db:
            row = db.execute("SELECT record FROM images WHERE id = ?", (image_id,)).fetchone()
        if row is None:
            raise errors.NotFound(f"No such image: {image_id}")
        return _record(row[0])

    def find(self, prefix: str) -> builtins.list[ImageRecord]:
        """Return the records whose id starts so; ``prefix`` with or without ``sha256:``."""
        full = prefix if ":" in prefix else f"sha256:{prefix}"
        with self._store.read() as db:
            # A range, not LIKE: the primary key's index serves it and no character is special.
            rows = db.execute(
                "SELECT record FROM images WHERE id >= ? AND id < ?", (full, full + "\x7f")
            ).fetchall()
        return [_record(row[0]) for row in rows]

    def remove(self, image_id: str) -> None:
        """Remove the record and its names. Raises NotFound, Conflict when a container uses it."""
        try:
            with self._store.write() as db:
                gone = db.execute("DELETE FROM images WHERE id = ?", (image_id,)).rowcount
        except ConstraintViolation as error:
            raise errors.Conflict(f"image {image_id} is used by a container") from error
        if not gone:
            raise errors.NotFound(f"No such image: {image_id}")

    def list(self) -> builtins.list[ImageRecord]:
        """Return all records, in any order."""
        with self._store.read() as db:
            rows = db.execute("SELECT record FROM images").fetchall()
        return [_record(row[0]) for row in rows]

    def tag(self, ref: str, image_id: str, index_digest: str | None = None) -> None:
        """Let the name point at the image, and stand for an index or for none.

        Moves a name that exists. Raises NotFound for the id or the index.
        """
        try:
            with self._store.write() as db:
                db.execute(
                    "INSERT INTO tags (ref, image_id, index_digest) VALUES (?, ?, ?) "
                    "ON CONFLICT (ref) DO UPDATE SET "
                    "image_id = excluded.image_id, index_digest = excluded.index_digest",
                    (ref, image_id, index_digest),
                )
        except ConstraintViolation as error:
            raise errors.NotFound(f"No such image: {index_digest or image_id}") from error

    def untag(self, ref: str) -> str:
        """Remove the name and return the id it pointed at. Raises NotFound."""
        with self._store.write() as db:
            row = db.execute("DELETE FROM tags WHERE ref = ? RETURNING image_id", (ref,)).fetchone()
        if row is None:
            raise errors.NotFound(f"No such image: {ref}")
        return str(row[0])

    def resolve(self, ref: str) -> str | None:
        """Return the id the name points at, or None."""
        with self._store.read() as db:
            row = db.execute("SELECT image_id FROM tags WHERE ref = ?", (ref,)).fetchone()
        return None if row is None else str(row[0])

    def tags(self, image_id: str) -> builtins.list[str]:
        """Return the names that point at the image, sorted."""
        with self._store.read() as db:
            rows = db.execute(
                "SELECT ref FROM tags WHERE image_id = ? ORDER BY ref", (image_id,)
            ).fetchall()
        return [row[0] for row in rows]

    def all_tags(self) -> dict[str, str]:
        """Return every name with the id it points at."""
        with self._store.read() as db:
            return dict(db.execute("SELECT ref, image_id FROM tags ORDER BY ref").fetchall())

    def in_use(self, image_id: str) -> builtins.list[str]:
        """Return the ids of all containers, running or not, that were made from the image."""
        with self._store.read() as db:
            rows = db.execute(
                "SELECT id FROM containers WHERE image_id = ? ORDER BY created", (image_id,)
            ).fetchall()
        return [row[0] for row in rows]

    def add_index(self, record: IndexRecord) -> None:
        """Store an index durably; what is known of one with the same digest is kept beside."""
        with self._store.write() as db:
            known = _index_in(db, record.digest)
            text = json.dumps((known.joined(record) if known else record).to_dict())
            db.execute(
                "INSERT INTO indexes (digest, record) VALUES (?, ?) "
                "ON CONFLICT (digest) DO UPDATE SET record = excluded.record",
                (record.digest, text),
            )

    def drop_member(self, digest: str, image_id: str) -> None:
        """Take an image out of an index. Does nothing when it is not in there."""
        with self._store.write() as db:
            if known := _index_in(db, digest):
                text = json.dumps(known.without(image_id).to_dict())
                db.execute("UPDATE indexes SET record = ? WHERE digest = ?", (text, digest))

    def remove_index(self, digest: str) -> None:
        """Remove an index; names that stood for it stay with their image."""
        with self._store.write() as db:
            db.execute("DELETE FROM indexes WHERE digest = ?", (digest,))

    def get_index(self, digest: str) -> IndexRecord | None:
        """Return the index with this digest, or None."""
        with self._store.read() as db:
            return _index_in(db, digest)

    def indexes(self) -> builtins.list[IndexRecord]:
        """Return all indexes, in any order."""
        with self._store.read() as db:
            rows = db.execute("SELECT record FROM indexes").fetchall()
        return [IndexRecord.from_dict(json.loads(row[0])) for row in rows]

    def index_names(self) -> dict[str, str]:
        """Return every name that stands for an index, with its digest."""
        with self._store.read() as db:
            return dict(
                db.execute(
                    "SELECT ref, index_digest FROM tags WHERE index_digest IS NOT NULL ORDER BY ref"
                ).fetchall()
            )


def _index_in(db: sqlite3.Connection, digest: str) -> IndexRecord | None:
    row = db.execute("SELECT record FROM indexes WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else IndexRecord.from_dict(json.loads(row[0]))


def _record(text: str) -> ImageRecord:
    return ImageRecord.from_dict(json.loads(text))
