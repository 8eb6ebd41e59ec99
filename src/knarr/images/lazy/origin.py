"""Where the bytes of a layer on its way are: in a registry, or since then in the content store."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, BinaryIO

from knarr.content import compression
from knarr.images import layers, tars
from knarr.images.descriptor import Descriptor
from knarr.images.lazy import chunked, stargz
from knarr.images.lazy.table import verified
from knarr.images.transfer.download import Download
from knarr.registry import ranges
from knarr.registry.hosts import Hosts
from knarr.registry.patience import Patience
from knarr.registry.repository import Registry, Repository

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from knarr.content.store import ContentStore
    from knarr.images.lazy.table import Chunk, Packing, Table
    from knarr.snapshots.coming import Coming
    from knarr.snapshots.tarentry import Entry

# Bytes of chunks that are kept: who reads on from one piece to the next wants them again.
_KEPT = 32 * 1024 * 1024
# Bytes of the blob that are asked for at once.
_AT_ONCE = 64 * 1024 * 1024


class RemoteTar:
    """A blob that is a plain tar, for ``snapshots.driver.Afar``. size, tar_size: of the tar."""

    def __init__(self, repository: Repository, layer: Descriptor, origin: dict[str, Any]) -> None:
        self.layer = layer
        self.size = self.tar_size = layer.size
        self.origin = {**origin, "layer": layer.to_dict(), "tar_size": layer.size}
        self.store: ContentStore | None = None
        self._repository = repository

    def read_at(self, offset: int, length: int) -> bytes:
        """Return these bytes. Raises what ``ranges.fetch`` raises."""
        return self._read(offset, length)

    def table(self) -> Iterable[tuple[Entry, int]] | None:
        """Return the entries, if they are known without the tar, with the place of each one's."""
        return None

    def prepare(self) -> None:
        """Bring what the pieces are not enough for; takes long. Raises KnarrError, OSError."""

    def tar(self) -> BinaryIO | None:
        """Return the tar as a stream when it is not what the pieces make; after ``prepare``."""
        return None

    def _read(self, offset: int, length: int) -> bytes:
        """Return bytes of the blob."""
        digest = self.layer.digest
        if self.store is not None and self.store.has(digest):
            with self.store.open(digest) as file:
                return os.pread(file.fileno(), length, offset)
        return ranges.fetch(self._repository, digest, offset, length, size=self.layer.size)


class RemoteTable(RemoteTar):
    """A blob with a table; size: of the contents of its files, one after the other."""

    def __init__(
        self, repository: Repository, layer: Descriptor, origin: dict[str, Any], packing: Packing
    ) -> None:
        super().__init__(repository, layer, origin)
        self._packing = packing
        self._loading = threading.Lock()
        self._loaded: Table | None = None
        self._chunks: dict[Chunk, bytes] = {}
        self._kept = 0

    def load(self) -> None:
        """Have the table here. Raises InvalidArchive, Unsupported, what the registry says."""
        self.size = self._table.size
        self.tar_size = self._packing.tar_size(self.layer, self._table)
        self.origin["tar_size"] = self.tar_size

    @property
    def _table(self) -> Table:
        with self._loading:
            if self._loaded is None:
                self._loaded = self._packing.table(self.layer, self._read)
            return self._loaded

    def table(self) -> Iterable[tuple[Entry, int]]:
        """Return the entries."""
        return self._table.entries

    def read_at(self, offset: int, length: int) -> bytes:
        """Return these bytes of all contents, each chunk verified. Raises InvalidArchive too."""
        found = bytearray(length)
        for chunk, data in self._unpacked(self._table.between(offset, offset + length)):
            start, end = max(chunk.place, offset), min(chunk.place + chunk.size, offset + length)
            found[start - offset : end - offset] = data[start - chunk.place : end - chunk.place]
        return bytes(found)

    def _unpacked(self, chunks: list[Chunk]) -> list[tuple[Chunk, bytes]]:
        """Return chunks with their bytes, those that are not kept by one request if they are near.

        A table can place them anywhere.
        """
        with self._loading:
            known = {chunk: self._chunks[chunk] for chunk in chunks if chunk in self._chunks}
        missing = [chunk for chunk in chunks if chunk not in known]
        if missing:
            start, end = min(each.offset for each in missing), max(each.end for each in missing)
            for some in [missing] if end - start <= _AT_ONCE else [[each] for each in missing]:
                known |= self._fetched(some)
            self._keep({chunk: known[chunk] for chunk in missing})
        return [(chunk, known[chunk]) for chunk in chunks]

    def _fetched(self, chunks: list[Chunk]) -> dict[Chunk, bytes]:
        start, end = min(each.offset for each in chunks), max(each.end for each in chunks)
        packed = memoryview(self._read(start, end - start))
        found = {}
        for each in chunks:
            data = self._packing.unpacked(each, packed[each.offset - start : each.end - start])
            found[each] = verified(each, data)
        return found

    def _keep(self, known: dict[Chunk, bytes]) -> None:
        """Keep chunks for the next one who reads, and let go of those that came first."""
        with self._loading:
            for chunk, data in known.items():
                self._kept += chunk.size if chunk not in self._chunks else 0
                self._chunks[chunk] = data
            while self._kept > _KEPT:
                first = next(iter(self._chunks))
                del self._chunks[first]
                self._kept -= first.size

    def prepare(self) -> None:
        """Have the whole blob in the store, from where the rest is read then."""
        assert self.store is not None
        if self.store.has(self.layer.digest):
            return

        def ignore(state: str, count: int | None) -> None:
            del state, count

        stop = threading.Event()
        with Download(self.store, self._repository, self.layer, stop, ignore) as download:
            download.run()

    def tar(self) -> BinaryIO:
        """Return the tar that the blob unpacks to."""
        assert self.store is not None
        limit = layers.size_limit(self.layer.size)
        return compression.open_decompressed(self.store.open(self.layer.digest), limit=limit)


def packing_of(layer: Descriptor) -> Packing | None:
    """Return how a layer with a table is packed, by its descriptor; None for one without."""
    # Of those that have the words of both, it is the zstd that is true.
    packings: tuple[Packing, ...] = (chunked, stargz)
    return next((each for each in packings if each.is_one(layer)), None)


def remote(repository: Repository, layer: Descriptor, origin: dict[str, Any]) -> RemoteTar:
    """Return a layer in a registry; of one with a table that is not asked for yet."""
    packing = packing_of(layer)
    if packing is None:
        return RemoteTar(repository, layer, origin)
    return RemoteTable(repository, layer, origin, packing)


def of(coming: Coming, store: ContentStore, patience: Patience) -> RemoteTar:
    """Return the source of a layer on its way, as its origin says. Raises InvalidArchive."""
    said = coming.origin
    registry = Registry(said["host"], Hosts.from_environment(os.environ), patience=patience)
    layer = Descriptor.from_dict(said["layer"])
    made = remote(registry.repository(said["repository"]), layer, said)
    made.store = store
    return made


def keep(store: ContentStore, tar: str, coming: Coming) -> None:
    """Have a layer's tar, which was found to be right, as content (OSError)."""
    digest = str(coming.origin["layer"]["digest"])
    store.link(tar, coming.diff_id)
    if digest != coming.diff_id:
        tars.note(store, digest, coming.diff_id)  # the next collection drops the packed one
