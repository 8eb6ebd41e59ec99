"""Layers that knarr made are plain tars here and go out as gzip, as from other engines.

The manifest that knarr gave such an image is its own invention, so nobody misses it when another
one, with compressed layers, stands for the same image id in a registry. Images that came
with a manifest of their own go out byte for byte.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from knarr.content import digest as digests
from knarr.content.store import ContentStore
from knarr.images import mediatypes, packednotes
from knarr.images.archive.packing import packed
from knarr.images.descriptor import Descriptor
from knarr.images.manifest import Manifest

_STEP = 1024 * 1024


def is_wanted(raw: bytes, manifest: Manifest) -> bool:
    """Return whether a manifest is one that knarr made, of plain layers."""
    plain = all(layer.media_type == mediatypes.OCI_LAYER for layer in manifest.layers)
    return bool(manifest.layers) and plain and raw == manifest.to_bytes()


class Packed:
    """A layer packed into a file without a name; close it."""

    def __init__(self, file: BinaryIO, descriptor: Descriptor) -> None:
        self._file = file
        self.descriptor = descriptor

    def open(self, offset: int) -> BinaryIO:
        """Return its bytes from there, with a position of their own."""
        again = open(f"/proc/self/fd/{self._file.fileno()}", "rb", buffering=0)
        again.seek(offset)
        return again

    def close(self) -> None:
        """Drop the file."""
        self._file.close()


def pack(store: ContentStore, layer: Descriptor, report: Callable[[int], None]) -> Packed:
    """Return a plain layer packed; ``report`` is told how many bytes of it are. Raises OSError."""
    file = tempfile.TemporaryFile(dir=os.path.join(store.root, "ingest"), buffering=0)
    try:
        hasher, size, done = digests.hasher(), 0, 0

        def pieces() -> Iterator[bytes]:
            nonlocal done
            with store.open(layer.digest) as source:
                while piece := source.read(_STEP):
                    yield piece
                    done += len(piece)
                    report(done)

        for out in packed(pieces(), "gzip"):
            file.write(out)
            hasher.update(out)
            size += len(out)
        digest = f"sha256:{hasher.hexdigest()}"
        descriptor = Descriptor(mediatypes.OCI_LAYER_GZIP, digest, size)
        packednotes.note(store, layer.digest, descriptor)
        return Packed(file, descriptor)
    except BaseException:
        file.close()
        raise
