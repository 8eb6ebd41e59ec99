"""Entries that are known without the tar they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.snapshots.tarstream import TarReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from knarr.snapshots.tarentry import Entry


class _Nothing:
    """A source that has no bytes."""

    def read(self, size: int, /) -> bytes:
        """Return none."""
        del size
        return b""


class TableReader(TarReader):
    """Entries of a table, each with the place of its contents, which cannot be read here."""

    def __init__(self, table: Iterable[tuple[Entry, int]]) -> None:
        super().__init__(_Nothing())
        self._table = iter(table)
        self._place = 0

    def next(self) -> Entry | None:
        """Return the next entry, None after the last."""
        found = next(self._table, None)
        if found is None:
            return None
        entry, self._place = found
        return entry

    @property
    def offset(self) -> int:
        """Where the contents of the current entry are."""
        return self._place
