"""Layers: opened uncompressed, and measured against the diff id they must have.

A compressed layer may be stored as its tar alone; see ``tars``.
"""

from __future__ import annotations

import io
from typing import BinaryIO

from knarr.content import compression
from knarr.content import digest as digests
from knarr.content.store import ContentStore
from knarr.errors import InvalidArchive
from knarr.images import mediatypes, tars

# A layer of zeros compresses a thousandfold and a hostile one can do no better with
# gzip, so a ratio alone tells nothing: small blobs may become this large, in bytes.
_FLOOR = 4 * 1024**3
_RATIO = 100
_CHUNK = 1024 * 1024

_OCI_TYPES = {
    "plain": mediatypes.OCI_LAYER,
    "gzip": mediatypes.OCI_LAYER_GZIP,
    "zstd": mediatypes.OCI_LAYER_ZSTD,
}


def size_limit(compressed: int) -> int:
    """Return how many bytes a blob of ``compressed`` bytes may unpack to."""
    return max(_FLOOR, compressed * _RATIO)


def open_layer(store: ContentStore, digest: str) -> BinaryIO:
    """Return a stream of the uncompressed tar of a layer, by its digest. Raises NotFound.

    The magic bytes decide about the compression, not the media type: tools have got that
    wrong for years, and the diff id proves the result. Reading raises InvalidArchive
    for corrupt input and for bombs.
    """
    tar = tars.of(store, digest)
    if tar is not None:
        return io.BufferedReader(io.FileIO(store.path(tar)), _CHUNK)
    limit = size_limit(store.stat(digest))
    return compression.open_decompressed(store.open(digest), limit=limit)


def kind_of(store: ContentStore, digest: str) -> str:
    """Return how a stored blob is packed, as ``compression.sniff`` tells from its first bytes."""
    with store.open(digest) as blob:
        return compression.sniff(blob.read(6))


def is_packed(store: ContentStore, digest: str) -> bool:
    """Return whether a layer is stored compressed only."""
    return tars.of(store, digest) is None and kind_of(store, digest) != "plain"


def has_media_type(kind: str) -> bool:
    """Return whether a layer of this kind can be named in a manifest: not so xz and bzip2."""
    return kind in _OCI_TYPES


def media_type_of(kind: str) -> str:
    """Return the OCI media type of a layer of this kind. Raises InvalidArchive without one."""
    if not has_media_type(kind):
        raise InvalidArchive(f"layers compressed with {kind} have no media type")
    return _OCI_TYPES[kind]


def measure(store: ContentStore, digest: str, diff_id: str) -> int:
    """Return the length in bytes of the layer's uncompressed tar, which is ``diff_id``.

    Raises InvalidArchive when the tar has another digest, or is corrupt or a bomb.
    """
    tar = tars.of(store, digest)
    if tar is not None:
        if tar != diff_id:
            raise _differs(digest, diff_id, tar)
        return store.stat(tar)
    if kind_of(store, digest) == "plain" and digest.partition(":")[0] == diff_id.partition(":")[0]:
        if digest != diff_id:
            raise _differs(digest, diff_id, digest)
        return store.stat(digest)
    with open_layer(store, digest) as stream:
        return measure_stream(stream, digest, diff_id)


def measure_stream(stream: BinaryIO, digest: str, diff_id: str) -> int:
    """Return the length in bytes of a layer's uncompressed tar, as ``measure`` does."""
    hasher = digests.hasher(diff_id.partition(":")[0])
    size = 0
    while chunk := stream.read(_CHUNK):
        hasher.update(chunk)
        size += len(chunk)
    found = f"{diff_id.partition(':')[0]}:{hasher.hexdigest()}"
    if found != diff_id:
        raise _differs(digest, diff_id, found)
    return size


def _differs(digest: str, diff_id: str, found: str) -> InvalidArchive:
    return InvalidArchive(f"layer {digest} unpacks to {found}, but its image says {diff_id}")
