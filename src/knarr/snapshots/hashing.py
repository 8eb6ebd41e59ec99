"""A stream that takes the digest of what passes through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.content import digest as digests

if TYPE_CHECKING:
    from knarr.snapshots.driver import Progress
    from knarr.snapshots.tarstream import Source


class HashingReader:
    """``read(n)`` of a source; counts and hashes every byte that comes out.

    Has just the one method that ``TarReader`` needs of its source.
    """

    def __init__(
        self, source: Source, algorithm: str = "sha256", progress: Progress | None = None
    ) -> None:
        self._source = source
        self._algorithm = algorithm
        self._hash = digests.hasher(algorithm)
        self._progress = progress
        self.count = 0

    def read(self, size: int) -> bytes:
        """Return up to size bytes, b"" at the end; errors are the source's."""
        data = self._source.read(size) or b""
        self._hash.update(data)
        self.count += len(data)
        if self._progress is not None and data:
            self._progress(self.count)
        return data

    @property
    def digest(self) -> str:
        """Return the digest of all that was read so far."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"
