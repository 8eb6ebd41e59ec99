"""Tables of layers that can be had in pieces: what is in them, and each chunk's place and digest.

eStargz and zstd:chunked have the same table, as JSON; they differ in how it is packed and found.
Who verified the digest of a table can verify all that is read of its layer.
Source: ``docs/estargz.md`` of containerd's stargz-snapshotter; for what else is in those of
zstd:chunked, ``pkg/chunked/internal/minimal/compression.go`` of containers/storage.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import json
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from knarr.errors import InvalidArchive, Unsupported
from knarr.snapshots import tarentry
from knarr.snapshots.tarentry import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from knarr.images.descriptor import Descriptor

    Read = Callable[[int, int], bytes]
    """Returns bytes of a blob, from an offset on so many."""

# Bytes of a table, and of one chunk: what is larger is waited for.
LIMIT = 32 * 1024 * 1024
_CHUNK_LIMIT = 16 * 1024 * 1024
# Bytes of a layer's files: they are cut into pieces of a two-thousandth, which are read as one.
_MOST = 256 * 1024**3
# Values in a table, which take some hundred bytes each when it is read; an entry has a dozen.
_VALUES = 4_000_000
_BLOCK = 512
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_NO_MOMENT = "0001-"  # Go's time.Time, not set
# What Go's JSON has in the place of a byte that is not UTF-8: the tar has another name.
_LOST = "\N{REPLACEMENT CHARACTER}"
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

    offset, end: of what is packed as one and has it, in the blob; inner: where it begins in there.
    """

    place: int
    size: int
    digest: str
    offset: int
    inner: int
    end: int


class Packing(Protocol):
    """How the layers of one format are packed."""

    def is_one(self, layer: Descriptor) -> bool:
        """Return whether a layer's descriptor says that it is of this format."""

    def table(self, layer: Descriptor, read: Read) -> Table:
        """Return its table, verified. Raises InvalidArchive, Unsupported, what ``read`` raises."""

    def tar_size(self, layer: Descriptor, table: Table) -> int:
        """Return the bytes of its tar, or nearly. Raises Unsupported when nothing tells."""

    def unpacked(self, chunk: Chunk, data: memoryview) -> bytes:
        """Return up to ``inner + size`` bytes of what has a chunk; raises InvalidArchive."""


class Table:
    """What a table says: entries of the layer, and where the contents of its files are.

    size: bytes of all contents, each file's from the start of a block. end: where the layer ends
    in its blob. most: bytes that a layer may have. Raises InvalidArchive for
    a table that makes no sense, Unsupported for chunks that are too large or have no digest.
    """

    def __init__(self, entries: list[dict[str, Any]], end: int, most: int) -> None:
        self.entries: list[tuple[Entry, int]] = []
        self.chunks: list[Chunk] = []
        self.size = 0
        self._most = min(most, _MOST)
        self._end = end
        self._left = 0  # bytes of the last file that no chunk has had yet
        try:
            self._read(entries)
        except (ValueError, TypeError, KeyError, OverflowError, binascii.Error) as error:
            raise InvalidArchive(f"the layer's table: {error}") from None
        if not self.chunks:
            raise Unsupported("it has no contents")
        self._places = [chunk.place for chunk in self.chunks]

    def _read(self, entries: list[dict[str, Any]]) -> None:
        file: dict[str, Any] = {}  # that chunks are of
        start = 0
        for raw, stop in zip(entries, _ends(entries, self._end), strict=True):
            if raw["type"] != "chunk":
                self._check_whole()
                entry, file = _entry(raw), raw
                start, self._left = self.size, entry.size
                self.entries.append((entry, start))
                self.size += entry.size + -entry.size % _BLOCK
                if self.size > self._most:
                    raise Unsupported(f"it has more than {self._most} bytes")
            elif raw.get("name") != file.get("name"):
                raise ValueError("a chunk of another file than the one before it")
            if raw["type"] in ("reg", "chunk") and (self._left or raw is not file):
                self._add(raw, file, start, stop)
        self._check_whole()

    def _check_whole(self) -> None:
        if self._left:
            raise ValueError("chunks that are not the whole file")

    def _add(self, raw: dict[str, Any], file: dict[str, Any], start: int, stop: int) -> None:
        length = int(file["size"])
        at = int(raw.get("chunkOffset") or 0)
        size = int(raw.get("chunkSize") or 0) or length - at
        if at != length - self._left:
            raise ValueError("chunks that overlap, or leave something out")
        if not 0 < size <= self._left:
            raise ValueError("a chunk is outside its file")
        self._left -= size
        if raw.get("chunkType") == "zeros":
            return  # in no need of being fetched: the table says what is there
        # A file in one chunk may have its digest for both.
        digest = str(raw.get("chunkDigest") or (raw.get("digest") if size == length else "") or "")
        if not digest.startswith("sha256:"):
            raise Unsupported("its chunks have no digests")
        offset, inner = int(raw["offset"]), int(raw.get("innerOffset") or 0)
        if not self._left and file.get("endOffset"):
            stop = min(stop, int(file["endOffset"]))
        if not 0 <= offset < stop <= self._end or inner < 0:
            raise ValueError("a chunk is nowhere")
        if max(size, inner + size, stop - offset) > _CHUNK_LIMIT:
            raise Unsupported("it has chunks of more than 16 MiB")
        self.chunks.append(Chunk(start + at, size, digest, offset, inner, stop))

    def between(self, start: int, end: int) -> list[Chunk]:
        """Return the chunks that have contents from ``start`` to ``end``; what has none is 0."""
        first = max(0, bisect_right(self._places, start) - 1)
        found = []
        for chunk in self.chunks[first:]:
            if chunk.place >= end:
                break
            if chunk.place + chunk.size > start:
                found.append(chunk)
        return found


def entries_of(text: bytes) -> list[dict[str, Any]]:
    """Return what stands in a table, which was verified. Raises InvalidArchive, Unsupported."""
    if sum(text.count(each) for each in (b",", b"[", b"{")) > _VALUES:
        raise Unsupported("its table has too much in it")
    try:
        value = json.loads(text)
        version, entries = value.get("version", 1), value["entries"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        version, entries = 1, None
    if version != 1:
        raise Unsupported(f"its table is of version {version!r:.20}")
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise InvalidArchive("the layer's table is none")
    return entries


def _ends(entries: list[dict[str, Any]], end: int) -> Iterator[int]:
    """Yield where that ends which each entry's offset is of: where the next one begins."""
    offsets = sorted({int(each["offset"]) for each in entries if each.get("offset")})
    for each in entries:
        number = bisect_right(offsets, int(each.get("offset") or 0))
        yield offsets[number] if number < len(offsets) else end


def _entry(raw: dict[str, Any]) -> Entry:
    kind = _KINDS[raw["type"]]
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
        mtime_ns=_nanoseconds(raw.get("modtime") or ""),
        link=_bytes(raw.get("linkName") or ""),
        major=major,
        minor=minor,
        xattrs={
            _bytes(name): base64.b64decode(value, validate=True) for name, value in xattrs.items()
        },
    )


def _nanoseconds(text: Any) -> int:
    """Return a moment in nanoseconds since 1970 (RFC 3339); 0 for one that is not set."""
    if text == "" or (isinstance(text, str) and text.startswith(_NO_MOMENT)):
        return 0
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no time")
    seconds = int(dt.datetime.fromisoformat(found[1] + found[3]).timestamp())
    return seconds * 10**9 + int((found[2] or "").ljust(9, "0"))


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{text!r:.40} is no name")
    if _LOST in text:
        raise Unsupported("it has names that are not UTF-8, and its table cannot say which")
    return text.encode("utf-8", "surrogateescape")


def verified(chunk: Chunk, data: bytes) -> bytes:
    """Return a chunk out of what was unpacked of that which has it. Raises InvalidArchive."""
    found = data[chunk.inner : chunk.inner + chunk.size]
    if len(found) != chunk.size:  # a digest is of bytes, however many the table says they are
        raise InvalidArchive(f"a chunk of the layer has {len(found)} bytes, not {chunk.size}")
    digest = f"sha256:{hashlib.sha256(found).hexdigest()}"
    if digest != chunk.digest:
        raise InvalidArchive(f"a chunk of the layer has digest {digest}, not {chunk.digest}")
    return found
