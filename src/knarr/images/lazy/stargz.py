"""eStargz: a gzip layer with a table of contents, whose chunks can be had one by one.

At the end of the blob a footer says where the table is, the layer's descriptor which digest it
has. Source: ``docs/estargz.md`` of containerd's stargz-snapshotter.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from typing import TYPE_CHECKING

from knarr.errors import InvalidArchive, Unsupported
from knarr.images import layers
from knarr.images.lazy import table as tables

if TYPE_CHECKING:
    from knarr.images.descriptor import Descriptor
    from knarr.images.lazy.table import Chunk, Read, Table

TABLE_DIGEST = "containerd.io/snapshot/stargz/toc.digest"
TAR_SIZE = "io.containers.estargz.uncompressed-size"
FOOTER = 51
_NAME = "stargz.index.json"


def is_one(layer: Descriptor) -> bool:
    """Return whether a layer's descriptor says that it is an eStargz."""
    return TABLE_DIGEST in layer.annotations


def table(layer: Descriptor, read: Read) -> Table:
    """Return its table; see ``table.Packing``."""
    if not layer.annotations.get(TAR_SIZE, "").isdecimal():
        raise Unsupported("it is an eStargz whose manifest does not say how large it is")
    end = layer.size - FOOTER
    start = table_offset(read(end, FOOTER))
    if not 0 <= start < end:
        raise InvalidArchive("the table of an eStargz layer is outside of it")
    if end - start > tables.LIMIT:
        raise Unsupported("its table is longer than 32 MiB")
    text = read_table(read(start, end - start), layer.annotations[TABLE_DIGEST])
    return tables.Table(tables.entries_of(text), start, layers.size_limit(layer.size))


def tar_size(layer: Descriptor, table: Table) -> int:
    """Return the bytes of its tar."""
    del table
    return int(layer.annotations[TAR_SIZE])


def table_offset(footer: bytes) -> int:
    """Return where the table of a blob with these last bytes begins; raises Unsupported."""
    # A gzip member without contents, whose extra field (RFC 1952) is "SG", 22, the number.
    number = footer[16:32]
    if footer[:4] != b"\x1f\x8b\x08\x04" or footer[12:16] != b"SG\x16\x00":
        raise Unsupported("it is no eStargz, whatever its manifest says")
    if footer[32:38] != b"STARGZ":
        raise Unsupported("it is no eStargz, whatever its manifest says")
    try:
        return int(number, 16)
    except ValueError:
        raise Unsupported("its footer says nothing about its table") from None


def read_table(data: bytes, wanted: str) -> bytes:
    """Return the text of a table in its gzip stream; raises InvalidArchive, Unsupported."""
    decoder = zlib.decompressobj(31)
    try:
        packed = decoder.decompress(data, tables.LIMIT)
    except zlib.error as error:
        raise InvalidArchive(f"the table of an eStargz layer: {error}") from None
    if decoder.unconsumed_tail:
        raise Unsupported("its table is longer than 32 MiB")
    try:
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            member = tar.extractfile(_NAME)
            text = member.read() if member is not None else b""
    except (tarfile.TarError, KeyError) as error:
        raise InvalidArchive(f"the table of an eStargz layer: {error}") from None
    found = f"sha256:{hashlib.sha256(text).hexdigest()}"
    if found != wanted:
        raise InvalidArchive(f"the table of an eStargz layer has digest {found}, not {wanted}")
    return text


def unpacked(chunk: Chunk, data: memoryview) -> bytes:
    """Return the start of a gzip stream; see ``table.Packing``."""
    try:
        return zlib.decompressobj(31).decompress(data, chunk.inner + chunk.size)
    except zlib.error as error:
        raise InvalidArchive(f"a chunk of an eStargz layer: {error}") from None
