"""How much may be pushed: to the whole registry, or to repositories of a pattern together.

What counts is what the repositories have, blobs and manifests, each once: what they share is
not counted twice. Copies of other registries do not count. What has come of uploads that are not
finished does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
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
class Counted:
    """A quota that counts what is to be pushed, and how many bytes it has counted so far."""

    quota: Quota
    used: int

    def check(self, size: int, unfinished: int) -> None:
        """Raise Fault when there is no room for so many bytes.

        unfinished: bytes of other uploads.
        """
        if self.used + unfinished + size > self.quota.size:
            raise exceeded(self.quota, self.used, size, unfinished)


@dataclass(frozen=True, slots=True)
class Quotas:
    """The quotas of a registry; all that fit a repository hold."""

    rules: tuple[Quota, ...] = ()

    def counting(self, db: sqlite3.Connection, repository: str, digest: str = "") -> list[Counted]:
        """Return the quotas that count what is pushed to a repository.

        digest: of what is to be pushed, where that is known: it may count already.
        """
        return [
            Counted(each, _used(db, each))
            for each in self.rules
            if fnmatchcase(repository, each.pattern) and not _counted(db, each, digest)
        ]

    def check(
        self,
        db: sqlite3.Connection,
        repository: str,
        digest: str,
        size: int,
        unfinished: Callable[[str], int],
    ) -> None:
        """Raise Fault when a repository may not get so many bytes of that digest.

        unfinished: returns the bytes of uploads to repositories of a pattern.
        """
        for each in self.counting(db, repository, digest):
            each.check(size, unfinished(each.quota.pattern))


def _used(db: sqlite3.Connection, quota: Quota) -> int:
    return int(db.execute(_USED, {"pattern": quota.pattern}).fetchone()[0])


def _counted(db: sqlite3.Connection, quota: Quota, digest: str) -> bool:
    return bool(db.execute(_COUNTED, {"pattern": quota.pattern, "digest": digest}).fetchone()[0])


def exceeded(quota: Quota, used: int, size: int, unfinished: int) -> Fault:
    """Return what a push is answered with that a quota has no room for."""
    whose = "the registry" if quota.pattern == "*" else f"repositories {quota.pattern}"
    others = f", {_shown(unfinished)} more by unfinished uploads" if unfinished else ""
    return Fault(
        413,
        "DENIED",
        f"the quota of {whose} is {_shown(quota.size)}, {_shown(used)} are used{others}: no room "
        f"for {_shown(size)}; delete something first",
        detail={"quota": quota.size, "used": used, "unfinished": unfinished, "size": size},
    )


def _shown(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size} bytes"
