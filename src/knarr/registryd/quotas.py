"""How much may be pushed: to the whole registry, or to repositories of a pattern together.

What counts is what the repositories have, blobs and manifests, each once: what they share is
not counted twice. Copies of other registries do not count; uploads do when they are whole.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from fnmatch import fnmatchcase

from knarr.registryd.faults import Fault

# GLOB of SQLite and fnmatch agree on what a pattern means.
_USED = """
SELECT COALESCE(SUM(size), 0) FROM (
    SELECT digest, size FROM blob JOIN repository ON repository = id
        WHERE upstream IS NULL AND name GLOB :pattern
    UNION SELECT digest, size FROM manifest JOIN repository ON repository = id
        WHERE upstream IS NULL AND name GLOB :pattern)
"""
_COUNTED = """
SELECT EXISTS (
    SELECT 1 FROM blob JOIN repository ON repository = id
        WHERE upstream IS NULL AND name GLOB :pattern AND digest = :digest
    UNION ALL SELECT 1 FROM manifest JOIN repository ON repository = id
        WHERE upstream IS NULL AND name GLOB :pattern AND digest = :digest)
"""


@dataclass(frozen=True, slots=True)
class Quota:
    """So many bytes for the repositories whose names fit a pattern."""

    pattern: str
    size: int


@dataclass(frozen=True, slots=True)
class Quotas:
    """The quotas of a registry; all that fit a repository hold."""

    rules: tuple[Quota, ...] = ()

    def left(self, db: sqlite3.Connection, repository: str, digest: str = "") -> int | None:
        """Return how many bytes may still be pushed to a repository, None for any number.

        digest: of what is to be pushed, where that is known: it may count already.
        """
        found = [
            each.size - _used(db, each)
            for each in self._of(repository)
            if not _counted(db, each, digest)
        ]
        return max(min(found), 0) if found else None

    def check(self, db: sqlite3.Connection, repository: str, digest: str, size: int) -> None:
        """Raise Fault when a repository may not get so many bytes of that digest."""
        for each in self._of(repository):
            if _counted(db, each, digest):
                continue
            used = _used(db, each)
            if used + size > each.size:
                raise exceeded(each, used, size)

    def refuse(self, db: sqlite3.Connection, repository: str, size: int) -> Fault:
        """Return what a push is answered with for which ``left`` is not enough."""
        each = min(self._of(repository), key=lambda one: one.size - _used(db, one))
        return exceeded(each, _used(db, each), size)

    def _of(self, repository: str) -> list[Quota]:
        return [each for each in self.rules if fnmatchcase(repository, each.pattern)]


def _used(db: sqlite3.Connection, quota: Quota) -> int:
    return int(db.execute(_USED, {"pattern": quota.pattern}).fetchone()[0])


def _counted(db: sqlite3.Connection, quota: Quota, digest: str) -> bool:
    return bool(db.execute(_COUNTED, {"pattern": quota.pattern, "digest": digest}).fetchone()[0])


def exceeded(quota: Quota, used: int, size: int) -> Fault:
    """Return what a push is answered with that a quota has no room for."""
    whose = "the registry" if quota.pattern == "*" else f"repositories {quota.pattern}"
    return Fault(
        413,
        "DENIED",
        f"the quota of {whose} is {_shown(quota.size)}, {_shown(used)} are used: no room for "
        f"{_shown(size)}; delete something first",
        detail={"quota": quota.size, "used": used, "size": size},
    )


def _shown(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size} bytes"
