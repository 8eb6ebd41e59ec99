"""eStargz: a gzip layer with a table of contents, whose chunks can be had one by one.

At the end of the blob a footer says where the table is, the layer's descriptor which digest it
has, the table which digest each chunk has: so all that is read of such a layer is verified.
Source: ``docs/estargz.md`` of containerd's stargz-snapshotter.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import io
import json
import tarfile
import zlib
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

from knarr.errors import InvalidArchive, Unsupported
from knarr.snapshots import tarentry
from knarr.snapshots.tarentry import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from knarr.images.descriptor import Descriptor

TABLE_DIGEST = "containerd.io/snapshot/stargz/toc.digest"
TAR_SIZE = "io.containers.estargz.uncompressed-size"
FOOTER = 51
_NAME = "stargz.index.json"
_BLOCK = 512
# Bytes of a table, and of one chunk: what is larger is waited for.
TABLE_LIMIT = 32 * 1024 * 1024
_CHUNK_LIMIT = 16 * 1024 * 1024
_KINDS = {
    "dir": tarentry.DIRECTORY,
    "reg": tarentry.FILE,
    "symlink": tarentry.SYMLINK,
    "hardlink": tarentry.HARDLINK,
    "char": tarentry.CHARACTER,
    "block": tarentry.BLOCK_DEVICE,
    "fifo": tarentry.FIFO,
}


class Chunk(NamedTuple):
    """A part of a file. place: where it is when all contents stand one after the other.

    offset, end: of the gzip stream that has it, in the blob; inner: where it begins in there.
    """

    place: int
    size: int
    digest: str
    offset: int
    inner: int
    end: int


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


def read_table(data: bytes, wanted: str) -> list[dict[str, Any]]:
    """Return the entries of a table in its gzip stream; raises InvalidArchive, Unsupported."""
    decoder = zlib.decompressobj(31)
    try:
        packed = decoder.decompress(data, TABLE_LIMIT)
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
    try:
        entries = json.loads(text)["entries"]
    except (ValueError, KeyError, TypeError, RecursionError):
        entries = None
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise InvalidArchive("the table of an eStargz layer is none")
    return entries


class Table:
    """What a table says: entries of the layer, and where the contents of its files are.

    size: bytes of all contents, each file's from the start of a block. Raises InvalidArchive for
    a table that makes no sense, Unsupported for chunks that are too large or have no digest.
    """

    def __init__(self, entries: list[dict[str, Any]], end: int) -> None:
        self.entries: list[tuple[Entry, int]] = []
        self.chunks: list[Chunk] = []
        self.size = 0
        try:
            self._read(entries, end)
        except (ValueError, TypeError, KeyError, OverflowError, binascii.Error) as error:
            raise InvalidArchive(f"the table of an eStargz layer: {error}") from None
        if not self.chunks:
            raise Unsupported("it has no contents")
        self._places = [chunk.place for chunk in self.chunks]

    def _read(self, entries: list[dict[str, Any]], end: int) -> None:
        ends = _ends(entries, end)
        start, length = 0, 0  # of the file that chunks are of
        for raw, stop in zip(entries, ends, strict=True):
            if raw["type"] != "chunk":
                entry = _entry(raw)
                start = self.size
                length = entry.size
                self.entries.append((entry, start))
                self.size += length + -length % _BLOCK
            if raw["type"] in ("reg", "chunk") and length:
                at = int(raw.get("chunkOffset") or 0)
                size = int(raw.get("chunkSize") or 0) or length - at
                self._add(raw, start + at, size, stop)
                if at < 0 or size <= 0 or at + size > length:
                    raise ValueError("a chunk is outside its file")

    def _add(self, raw: dict[str, Any], place: int, size: int, stop: int) -> None:
        digest = str(raw.get("chunkDigest") or "")
        offset, inner = int(raw["offset"]), int(raw.get("innerOffset") or 0)
        if not digest.startswith("sha256:"):
            raise Unsupported("its chunks have no digests")
        if max(size, inner + size, stop - offset) > _CHUNK_LIMIT:
            raise Unsupported("it has chunks of more than 16 MiB")
        if not 0 <= offset < stop or inner < 0:
            raise ValueError("a chunk is nowhere")
        if self.chunks and self.chunks[-1].place + self.chunks[-1].size > place:
            raise ValueError("chunks overlap")
        self.chunks.append(Chunk(place, size, digest, offset, inner, stop))

    def between(self, start: int, end: int) -> list[Chunk]:
        """Return the chunks that have contents from ``start`` to ``end``."""
        first = max(0, bisect_right(self._places, start) - 1)
        found = []
        for chunk in self.chunks[first:]:
            if chunk.place >= end:
                break
            if chunk.place + chunk.size > start:
                found.append(chunk)
        return found


def _ends(entries: list[dict[str, Any]], end: int) -> Iterator[int]:
    """Yield where the gzip stream ends that each entry's offset is of."""
    offsets = sorted({int(each["offset"]) for each in entries if each.get("offset")})
    for each in entries:
        number = bisect_right(offsets, int(each.get("offset") or 0))
        yield offsets[number] if number < len(offsets) else end


def _entry(raw: dict[str, Any]) -> Entry:
    kind = _KINDS[raw["type"]]
    modified = raw.get("modtime") or ""
    seconds = int(dt.datetime.fromisoformat(modified).timestamp()) if modified else 0
    xattrs = raw.get("xattrs") or {}
    if not isinstance(xattrs, dict):
        raise TypeError("attributes that are none")
    size = int(raw.get("size") or 0) if kind == tarentry.FILE else 0
    uid, gid = int(raw.get("uid") or 0), int(raw.get("gid") or 0)
    if size < 0 or not (0 <= uid < 1 << 32 and 0 <= gid < 1 << 32):
        raise ValueError("a size or an owner that none can be")
    major, minor = int(raw.get("devMajor") or 0), int(raw.get("devMinor") or 0)
    if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
        raise ValueError(f"device {major}:{minor} is out of range")
    return Entry(
        _bytes(raw["name"]),
        kind,
        mode=int(raw.get("mode") or 0) & 0o7777,
        uid=uid,
        gid=gid,
        size=size,
        mtime_ns=seconds * 10**9,
        link=_bytes(raw.get("linkName") or ""),
        major=major,
        minor=minor,
        xattrs={
            _bytes(name): base64.b64decode(value, validate=True) for name, value in xattrs.items()
        },
    )


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no name")
    return text.encode("utf-8", "surrogateescape")


def unpacked(chunk: Chunk, data: memoryview) -> bytes:
    """Return a chunk out of the gzip stream that has it, verified. Raises InvalidArchive."""
    try:
        found = zlib.decompressobj(31).decompress(data, chunk.inner + chunk.size)[chunk.inner :]
    except zlib.error as error:
        raise InvalidArchive(f"a chunk of an eStargz layer: {error}") from None
    digest = f"sha256:{hashlib.sha256(found).hexdigest()}"
    if digest != chunk.digest:
        raise InvalidArchive(f"a chunk of an eStargz layer has digest {digest}, not {chunk.digest}")
    return found


def is_one(layer: Descriptor) -> bool:
    """Return whether a layer's descriptor says that it is an eStargz."""
    return TABLE_DIGEST in layer.annotations
