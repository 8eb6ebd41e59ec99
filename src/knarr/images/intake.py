"""Blobs on their way in, and which of them an operation has to account for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import BinaryIO

from knarr.content.store import Blob, ContentStore

_CHUNK = 1024 * 1024


class Intake:
    """Stores blobs for one operation and remembers their digests in ``touched``.

    Those that no record refers to when the operation is over are garbage, see
    ``garbage.collect``; that holds for a failed operation as for a finished one. chain: chain ids
    of the layers that the driver was given, likewise.
    """

    def __init__(self, store: ContentStore) -> None:
        self.store = store
        self.touched: set[str] = set()
        self.chain: set[str] = set()

    def has(self, digest: str, size: int) -> bool:
        """Return whether the store already holds this blob in this size (bytes)."""
        if not self.store.has(digest) or self.store.stat(digest) != size:
            return False
        self.touched.add(digest)
        return True

    def stream(
        self,
        source: BinaryIO,
        digest: str | None = None,
        size: int | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Blob:
        """Store all of ``source`` and return its digest and size in bytes.

        ``on_bytes`` is told how many bytes have come so far. Raises InvalidArchive
        when digest or size are given and differ; nothing is kept then.
        """
        chunks = iter(lambda: source.read(_CHUNK) or b"", b"")
        return self.pieces(chunks, digest, size, on_bytes)

    def pieces(
        self,
        chunks: Iterable[bytes],
        digest: str | None = None,
        size: int | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Blob:
        """Store what comes in pieces, as :meth:`stream` does."""
        with self.store.ingest(digest, size) as writer:
            for chunk in chunks:
                writer.write(chunk)
                if on_bytes is not None:
                    on_bytes(writer.size)
            blob = writer.commit()
        self.touched.add(blob.digest)
        return blob

    def document(self, data: bytes) -> Blob:
        """Store a small document and return its digest and size."""
        blob = self.store.add(data)
        self.touched.add(blob.digest)
        return blob
