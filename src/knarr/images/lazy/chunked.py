"""zstd:chunked: a zstd layer with a table of contents, each chunk of a file a frame of its own.

The table stands behind the layer in a frame that decoders skip; where it is, and which digest it
has, is said by the layer's descriptor, since what the blob itself says nobody has verified.
Source: ``pkg/chunked/internal/minimal/compression.go`` of containers/storage.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from knarr.content import compression
from knarr.content import digest as digests
from knarr.errors import InvalidArchive, InvalidArgument, Unsupported
from knarr.images import layers
from knarr.images.lazy import table as tables

if TYPE_CHECKING:
    from knarr.images.descriptor import Descriptor
    from knarr.images.lazy.table import Chunk, Read, Table

# As written since 2022, and before that, by Debian 12's podman among others, and by nerdctl.
_PREFIXES = ("io.github.containers.zstd-chunked.", "io.containers.zstd-chunked.")
_DIGEST, _POSITION = "manifest-checksum", "manifest-position"
_PLACE = re.compile(r"(\d{1,18}):(\d{1,18}):(\d{1,18}):(\d{1,9})", re.ASCII)
_TYPE = 1  # the only one there is: JSON, as eStargz has it
_MAGIC = b"GNULINUX"
_BLOCK, _END = 512, 1024


def _annotation(layer: Descriptor, name: str) -> str | None:
    for prefix in _PREFIXES:
        if prefix + name in layer.annotations:
            return layer.annotations[prefix + name]
    return None


def is_one(layer: Descriptor) -> bool:
    """Return whether a layer's descriptor says that it is a zstd:chunked, and which table it has.

    One that does not say so is as any zstd layer: its table would have no digest.
    """
    return _annotation(layer, _DIGEST) is not None


def lost(layer: Descriptor, read: Read) -> bool:
    """Return whether a zstd layer whose descriptor says nothing is one, by its footer."""
    # Written as GNUlInUx and, before that, as GnUlInUx.
    return read(layer.size - len(_MAGIC), len(_MAGIC)).upper() == _MAGIC


def table(layer: Descriptor, read: Read) -> Table:
    """Return its table; see ``table.Packing``."""
    found = _PLACE.fullmatch(_annotation(layer, _POSITION) or "")
    if found is None:
        raise Unsupported("it is a zstd:chunked whose manifest does not say where its table is")
    offset, length, size, kind = map(int, found.groups())
    if kind != _TYPE:
        raise Unsupported(f"it is a zstd:chunked with a table of type {kind}")
    if not (offset and length and offset + length <= layer.size):
        raise InvalidArchive("the table of a zstd:chunked layer is outside of it")
    if max(length, size) > tables.LIMIT:
        raise Unsupported("its table is longer than 32 MiB")
    data = read(offset, length)
    wanted = _annotation(layer, _DIGEST) or ""
    try:
        digest = digests.of(data, digests.parse(wanted)[0])
    except InvalidArgument:
        raise InvalidArchive(f"the table of a zstd:chunked layer: no digest: {wanted}") from None
    if digest != wanted:
        raise InvalidArchive(f"the table of a zstd:chunked layer has digest {digest}, not {wanted}")
    # It may be one byte longer than said, which is enough to see that it is.
    text = compression.zstd_start(data, size + 1)
    if len(text) != size:
        raise InvalidArchive(
            "the table of a zstd:chunked layer is not as long as its manifest says"
        )
    return tables.Table(tables.entries_of(text), offset, layers.size_limit(layer.size))


def tar_size(layer: Descriptor, table: Table) -> int:
    """Return the bytes of its tar as they are without long names, attributes or padding."""
    del layer
    return table.size + len(table.entries) * _BLOCK + _END


def unpacked(chunk: Chunk, data: memoryview) -> bytes:
    """Return the start of what some frames have; see ``table.Packing``."""
    return compression.zstd_start(data, chunk.inner + chunk.size)
