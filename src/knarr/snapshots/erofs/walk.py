"""From header to header of a tar that is elsewhere: bodies of files are left where they are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from knarr.errors import InvalidArchive

if TYPE_CHECKING:
    from knarr.snapshots.driver import Afar

# A request costs about as much time as so many bytes: a body that is smaller is fetched.
WORTH = 128 * 1024
_FIRST, _MOST = 32 * 1024, 1024 * 1024


class Walk:
    """A ``tarstream.Source``; what it fetches is also written to a file, each byte at its place.

    As long as nothing is skipped each request is for twice as much as the one before.
    """

    def __init__(self, afar: Afar, scratch: int) -> None:
        self._afar = afar
        self._scratch = scratch
        self._position = 0
        self._ahead = _FIRST
        self.fetched: list[tuple[int, int]] = []  # (start, end) of each stretch, ascending

    def read(self, size: int) -> bytes:
        """Return up to size bytes, b"" at the end; raises what the source raises."""
        length = min(size, self._ahead, self._afar.size - self._position)
        if length <= 0:
            return b""
        data = self._afar.read_at(self._position, length)
        start, end = self._position, self._position + len(data)
        os.pwrite(self._scratch, data, start)
        if self.fetched and self.fetched[-1][1] == start:
            start = self.fetched.pop()[0]
        self.fetched.append((start, end))
        self._position = end
        self._ahead = min(self._ahead * 2, _MOST)
        return data

    def skip(self, count: int) -> None:
        """Go on by count bytes; raises InvalidArchive when there are fewer."""
        self._position += count
        self._ahead = _FIRST
        if self._position > self._afar.size:
            raise InvalidArchive("tar: the archive is truncated")

    def known_from(self, start: int, end: int) -> int:
        """Return how far from ``start`` on, and up to ``end``, everything was fetched."""
        for first, last in self.fetched:
            if first <= start < last:
                return min(last, end)
        return start
