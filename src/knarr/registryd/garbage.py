"""The collector: what nobody refers to any more goes, while the registry serves.

Three steps, each of them safe beside pushes and pulls:

1. In one transaction, rows: old tags and manifests without a tag if that was asked for, then blobs
   that no manifest of their repository needs. All only when they were pushed, or last asked for,
   longer ago than the grace: a client that has just been told "I have this blob" has so long to
   push the manifest that needs it.
2. Files that no row speaks of, a few at a time under the write lock, under which rows come to be.
   Whoever has one open reads it to its end.
3. Uploads that have expired, and what killed processes left.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass

from knarr.content import parts
from knarr.content.store import Blob
from knarr.errors import NotFound
from knarr.registryd import manifests
from knarr.registryd.shelf import Shelf
from knarr.registryd.tagrules import TagRules

GRACE = 3600.0
UPLOAD_EXPIRY = 86400.0
_AT_ONCE = 50  # files that are removed under one lock
_STALE = 3600.0  # seconds after which a dead process's half-written file goes

_UNTAGGED = """
SELECT repository, digest FROM manifest AS m WHERE pushed < :horizon
    AND NOT EXISTS (SELECT 1 FROM tag AS t
        WHERE t.repository = m.repository AND t.digest = m.digest)
    AND NOT EXISTS (SELECT 1 FROM reference AS r
        WHERE r.repository = m.repository AND r.digest = m.digest AND r.manifest <> m.digest)
    AND (subject IS NULL OR NOT EXISTS (SELECT 1 FROM manifest AS s
        WHERE s.repository = m.repository AND s.digest = m.subject AND s.digest <> m.digest))
"""
_UNUSED = """
DELETE FROM blob AS b WHERE asked < ? AND NOT EXISTS (SELECT 1 FROM reference AS r
    WHERE r.repository = b.repository AND r.digest = b.digest)
"""
# A copy's manifest is asked for when its tag is compared with upstream's, or by its digest.
_FORGOTTEN = """
SELECT repository, m.digest FROM manifest AS m JOIN repository ON repository = id
    WHERE upstream IS NOT NULL AND m.pushed < :horizon AND NOT EXISTS (SELECT 1 FROM tag AS t
        WHERE t.repository = m.repository AND t.digest = m.digest AND t.pushed >= :horizon)
"""
_TAGS = """
SELECT id, repository.name, tag.name, pushed FROM tag JOIN repository ON repository = id
    WHERE upstream IS NULL ORDER BY repository.name, pushed DESC, tag.name DESC
"""
_NAMED = "SELECT EXISTS (SELECT 1 FROM blob WHERE digest = :digest UNION ALL \
SELECT 1 FROM manifest WHERE digest = :digest)"
_EMPTY = """
DELETE FROM repository WHERE NOT EXISTS (SELECT 1 FROM blob WHERE repository = id)
    AND NOT EXISTS (SELECT 1 FROM manifest WHERE repository = id)
    AND NOT EXISTS (SELECT 1 FROM tag WHERE repository = id)
"""


@dataclass(frozen=True, slots=True)
class Retention:
    """Which tags stay: the ``last`` ones that were pushed to each repository, and exceptions.

    spared: patterns as of ``TagRules``, of tags that stay and do not count.
    """

    last: int
    spared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What a collection removed, or would: manifests, files and their bytes, uploads, tags.

    manifests and tags are pairs of a repository and a digest or tag.
    """

    manifests: tuple[tuple[str, str], ...]
    files: tuple[Blob, ...]
    uploads: int = 0
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        """Return the bytes of the files."""
        return sum(each.size for each in self.files)


class _Undo(Exception):
    """Leaves a transaction without any change."""


def collect(
    shelf: Shelf,
    *,
    grace: float = GRACE,
    untagged: bool = False,
    upload_expiry: float = UPLOAD_EXPIRY,
    keep_copies: float | None = None,
    retention: Retention | None = None,
    dry_run: bool = False,
) -> Report:
    """Remove what nobody needs; return what went, or would go. Times are in seconds.

    untagged: also manifests without a tag, unless an index or, for those with a subject, that
    subject keeps them. keep_copies: manifests of copies that nobody asked for in that time go, too.
    retention: tags that it does not keep go, and with them manifests without a tag. Raises OSError.
    """
    horizon = time.time() - grace
    gone: list[tuple[str, str]] = []
    unnamed: list[Blob] = []
    tags: list[tuple[str, str]] = []
    with suppress(_Undo), shelf.catalogue.writing() as db:
        if retention is not None:
            tags = _drop_tags(db, retention, horizon)
        if untagged or retention is not None:
            gone = _drop(db, _UNTAGGED, horizon)
        if keep_copies is not None:
            gone += _drop(db, _FORGOTTEN, time.time() - keep_copies)
        db.execute(_UNUSED, (horizon,))
        if dry_run:
            unnamed = [each for each in shelf.store.walk() if not _named(db, each.digest)]
            raise _Undo
        db.execute(_EMPTY)
    if dry_run:
        return Report(tuple(gone), tuple(unnamed), tags=tuple(tags))
    files = _drop_files(shelf)
    return Report(tuple(gone), files, sweep(shelf, upload_expiry), tuple(tags))


def sweep(shelf: Shelf, upload_expiry: float) -> int:
    """Remove what never became a blob and nobody goes on with; return the number of uploads."""
    shelf.store.cleanup(_STALE)
    parts.remove_old(shelf.store, upload_expiry)
    return shelf.uploads.expire(upload_expiry)


def _drop_tags(
    db: sqlite3.Connection, retention: Retention, horizon: float
) -> list[tuple[str, str]]:
    """Take old tags out of repositories that are no copies; return which."""
    spared = TagRules(retention.spared)
    kept: dict[int, int] = {}
    gone: list[tuple[str, str]] = []
    for number, repository, tag, pushed in db.execute(_TAGS).fetchall():
        if spared.fixed(repository, tag):
            continue
        kept[number] = kept.get(number, 0) + 1
        if kept[number] > retention.last and pushed < horizon:
            db.execute("DELETE FROM tag WHERE repository = ? AND name = ?", (number, tag))
            gone.append((repository, tag))
    return gone


def _drop(db: sqlite3.Connection, which: str, horizon: float) -> list[tuple[str, str]]:
    """Take the manifests of a query out, and then those of which that makes it true."""
    gone: list[tuple[str, str]] = []
    while found := db.execute(which, {"horizon": horizon}).fetchall():
        for number, digest in found:
            name = db.execute("SELECT name FROM repository WHERE id = ?", (number,)).fetchone()[0]
            manifests.forget(db, number, digest)
            gone.append((name, digest))
    return gone


def _named(db: sqlite3.Connection, digest: str) -> bool:
    return bool(db.execute(_NAMED, {"digest": digest}).fetchone()[0])


def _drop_files(shelf: Shelf) -> tuple[Blob, ...]:
    """Remove the files that no row speaks of."""
    with shelf.catalogue.reading() as db:
        candidates = [each for each in shelf.store.walk() if not _named(db, each.digest)]
    gone: list[Blob] = []
    while candidates:
        some, candidates = candidates[:_AT_ONCE], candidates[_AT_ONCE:]
        with shelf.catalogue.writing() as db:
            for each in some:
                if _named(db, each.digest):
                    continue  # pushed meanwhile
                with suppress(NotFound):
                    shelf.store.delete(each.digest)
                    gone.append(each)
    return tuple(gone)
