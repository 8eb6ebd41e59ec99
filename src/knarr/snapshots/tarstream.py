"""Our own tar reader: streams, bytes for names, every dialect that layers are written in.

ustar, PAX (local and global headers), GNU long names, base-256 numbers,
old-GNU sparse files and PAX sparse files 0.0, 0.1 and 1.0. The standard
library's ``tarfile`` decodes names, reads backwards and trusts more than we
may; this one reads forward once, in big pieces, and any input whatever either
parses or raises InvalidArchive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from knarr.errors import InvalidArchive
from knarr.snapshots import tarheader as header
from knarr.snapshots.tarentry import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    SYMLINK,
    Entry,
    Limits,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_KINDS = {
    b"0": FILE,
    b"\0": FILE,
    b"7": FILE,  # contiguous: the same on every system that still exists
    b"S": FILE,  # old-GNU sparse
    b"1": HARDLINK,
    b"2": SYMLINK,
    b"3": CHARACTER,
    b"4": BLOCK_DEVICE,
    b"5": DIRECTORY,
    b"6": FIFO,
}
_IGNORED = {b"V"}  # GNU volume label
_META_LIMIT = 1024 * 1024  # bytes in one extended header or long name
_CHUNK = 1024 * 1024
_BLOCK = header.BLOCK
_ZERO = bytes(_BLOCK)


class Source(Protocol):
    """All that a tar is read from: an open binary file, or anything that reads like one."""

    def read(self, size: int, /) -> bytes:
        """Return 1 to size bytes, b"" at the end."""
        ...


class _Pending:
    """What extended headers said about the entry that follows them."""

    __slots__ = ("link", "name", "pax", "sparse_numbers")

    def __init__(self) -> None:
        self.pax: dict[bytes, bytes] = {}
        self.sparse_numbers: list[int] = []
        self.name: bytes | None = None
        self.link: bytes | None = None

    def add(self, records: list[tuple[bytes, bytes]]) -> None:
        """Take over local records; sparse format 0.0 repeats two keywords, so order counts."""
        for key, value in records:
            if key in {b"GNU.sparse.offset", b"GNU.sparse.numbytes"}:
                self.sparse_numbers.append(header.decimal(value, "sparse map"))
                if len(self.sparse_numbers) > 2 * header.MAX_SPARSE:
                    raise InvalidArchive("tar sparse map: too many stretches")
            else:
                self.pax[key] = value


class TarReader:
    """The entries of a tar stream, in order; iterate, and read each one's data before the next.

    source needs only ``read(n)``; skip, where a source can do it, passes over n bytes without
    reading them, and raises InvalidArchive when there are fewer; it is asked for ``worth`` bytes
    and more. Every method raises
    InvalidArchive for what is corrupt, truncated or beyond the limits; OSError comes from
    the source.
    """

    def __init__(
        self,
        source: Source,
        limits: Limits | None = None,
        skip: Callable[[int], None] | None = None,
        worth: int = _CHUNK,
    ) -> None:
        self._source = source
        self._skip_source = skip
        self._worth = worth
        self._limits = limits or Limits()
        self._buffer = b""
        self._position = 0
        self._taken = 0  # bytes of the source that are behind us or in the buffer
        self._entries = 0
        self._bytes = 0
        self._left = 0  # stored bytes of the current entry not yet read
        self._padding = 0
        self._map: header.Sparse = []
        self._globals: dict[bytes, bytes] = {}
        self._ended = False

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self.next()) is not None:
            yield entry

    def next(self) -> Entry | None:
        """Return the next entry, None at the end of the archive."""
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        pending = _Pending()
        special = False
        while True:
            block = self._header_block()
            if block is None:
                if special:
                    raise InvalidArchive("tar: the archive ends after an extended header")
                return None
            flag = block[156:157]
            size = header.checked_size(header.number(block[124:136], "size"))
            if flag in _KINDS:
                return self._entry(block, flag, size, pending)
            if flag in _IGNORED:
                self._skip(size + -size % _BLOCK)
            elif not self._extended(flag, size, pending):
                raise InvalidArchive(f"tar: entries of type {flag!r} are not supported")
            special = special or flag not in {b"g", b"V"}

    @property
    def offset(self) -> int:
        """Where the next byte stands in the stream: after ``next``, the current entry's data."""
        return self._taken - len(self._buffer) + self._position

    def segments(self) -> Iterator[tuple[int, memoryview]]:
        """Yield (offset, data) of the current entry, offsets ascending; holes are left out."""
        for offset, length in self._map:
            end = offset + length
            while offset < end:
                piece = self._piece(end - offset)
                self._left -= len(piece)
                yield offset, piece
                offset += len(piece)
        self._map = []

    def read(self, limit: int) -> bytes:
        """Return the whole contents of the current entry, which may have limit bytes at most."""
        size = self._map[-1][0] + self._map[-1][1] if self._map else 0
        if size > limit:
            raise InvalidArchive(f"tar: an entry has {size} bytes, more than {limit} allowed")
        contents = bytearray(size)
        for offset, piece in self.segments():
            contents[offset : offset + len(piece)] = piece
        return bytes(contents)

    def drain(self) -> None:
        """Read to the end of the source, so that a digest over it covers every byte."""
        self._buffer = b""
        self._position = 0
        self._left = self._padding = 0
        self._map = []
        self._ended = True
        while self._source.read(_CHUNK):
            continue

    def _header_block(self) -> bytes | None:
        """Return the next verified header, None at the end."""
        if self._ended:
            return None
        block = self._exactly(_BLOCK, at_end=True)
        if block is None or block == _ZERO:
            # One zero block and then nothing is an end that old writers left.
            second = self._exactly(_BLOCK, at_end=True) if block is not None else None
            if second is not None and second != _ZERO:
                raise InvalidArchive("tar: a lone zero block stands between entries")
            self._ended = True
            return None
        self._entries += 1
        if self._entries > self._limits.max_entries:
            raise InvalidArchive(f"tar: more than {self._limits.max_entries} entries")
        try:
            header.verify_checksum(block)
        except InvalidArchive as error:
            if self._entries > 1:
                raise
            raise InvalidArchive(f"this is no tar archive: {error}") from None
        return block

    def _extended(self, flag: bytes, size: int, pending: _Pending) -> bool:
        """Read an extended header into pending; False when flag is none of them."""
        if flag not in {b"x", b"X", b"g", b"L", b"K"}:
            return False
        if size > _META_LIMIT:
            raise InvalidArchive(f"tar: an extended header has {size} bytes")
        data = self._exactly(size) or b""
        self._skip(-size % _BLOCK)
        if flag == b"L":
            pending.name = header.text(data)
        elif flag == b"K":
            pending.link = header.text(data)
        elif flag == b"g":
            self._globals.update(header.pax_records(data))
            if sum(len(k) + len(v) for k, v in self._globals.items()) > _META_LIMIT:
                raise InvalidArchive("tar: global headers hold too much")
        else:
            pending.add(header.pax_records(data))
        return True

    def _entry(self, block: bytes, flag: bytes, size: int, pending: _Pending) -> Entry:
        """Return the entry of a main header and set up the reading of its data."""
        kind = _KINDS[flag]
        if self._globals:
            pending.pax = {**self._globals, **pending.pax}
        name, link = _names(block, pending)
        if flag == b"\0" and name.endswith(b"/"):
            kind = DIRECTORY  # tars older than POSIX mark directories only by the slash
        pax = pending.pax
        if pax.get(b"size"):
            size = header.checked_size(header.decimal(pax[b"size"], "size"))
        if kind != FILE:
            # Only files have data: a size in a link's header tells about its target.
            size = 0
        entry = Entry(name, kind, link=link, size=size)
        _attributes(entry, block, pax)
        self._left = size
        self._padding = -size % _BLOCK
        self._bytes += size
        if self._limits.max_bytes is not None and self._bytes > self._limits.max_bytes:
            raise InvalidArchive(f"tar: more than {self._limits.max_bytes} bytes in files")
        if kind == FILE:
            self._sparse(entry, flag, block, pending)
        else:
            self._map = []
        return entry

    def _sparse(self, entry: Entry, flag: bytes, block: bytes, pending: _Pending) -> None:
        """Find the stretches of data of a file; sets entry.sparse, entry.size, self._map."""
        pax = pending.pax
        real: int | None = None
        pairs: header.Sparse | None = None
        if flag == b"S":
            real = header.number(block[483:495], "real size")
            pairs = self._old_sparse_map(block)
        elif pax.get(b"GNU.sparse.major") == b"1" and pax.get(b"GNU.sparse.minor") == b"0":
            real = header.decimal(pax.get(b"GNU.sparse.realsize", b""), "real size")
            pairs = self._new_sparse_map()
        elif b"GNU.sparse.map" in pax or pending.sparse_numbers:
            real = header.decimal(
                pax.get(b"GNU.sparse.size") or pax.get(b"GNU.sparse.realsize", b""), "real size"
            )
            numbers = pending.sparse_numbers
            if b"GNU.sparse.map" in pax:
                words = pax[b"GNU.sparse.map"].split(b",")
                numbers = [header.decimal(word, "sparse map") for word in words if word]
            pairs = header.sparse_pairs(numbers)
        if pairs is None or real is None:
            self._map = [(0, entry.size)] if entry.size else []
            return
        entry.sparse = self._map = header.checked_sparse(pairs, real, self._left)
        entry.size = real

    def _old_sparse_map(self, block: bytes) -> header.Sparse:
        """Return the map in an old-GNU header and in the extension blocks after it."""
        pairs = header.old_sparse(block, 386, 4)
        more = block[482]
        while more:
            extension = self._exactly(_BLOCK) or b""
            pairs += header.old_sparse(extension, 0, 21)
            more = extension[504]
            if len(pairs) > header.MAX_SPARSE or not any(extension[:24]):
                raise InvalidArchive("tar sparse map: empty extension, or too many stretches")
        return pairs

    def _new_sparse_map(self) -> header.Sparse:
        """Return the map of PAX sparse 1.0: decimal lines, padded to a block, before the data."""
        numbers: list[int] = []
        wanted = 1
        rest = b""
        while len(numbers) < wanted:
            if self._left < _BLOCK:
                raise InvalidArchive("tar sparse map: longer than the entry")
            lines = (rest + (self._exactly(_BLOCK) or b"")).split(b"\n")
            self._left -= _BLOCK
            rest = lines.pop()
            for line in lines:
                numbers.append(header.decimal(line, "sparse map"))
                if len(numbers) == 1:
                    wanted = 1 + 2 * header.checked_size(numbers[0], "sparse map")
                    if numbers[0] > header.MAX_SPARSE:
                        raise InvalidArchive("tar sparse map: too many stretches")
                if len(numbers) == wanted:
                    break
            if len(rest) > _BLOCK:
                raise InvalidArchive("tar sparse map: a number is too long")
        return header.sparse_pairs(numbers[1:])

    def _piece(self, wanted: int) -> memoryview:
        """Return 1 to wanted bytes as a view of the buffer."""
        available = len(self._buffer) - self._position
        if not available:
            self._buffer = self._source.read(_CHUNK) or b""
            self._position = 0
            available = len(self._buffer)
            self._taken += available
            if not available:
                raise InvalidArchive("tar: the archive is truncated")
        count = min(wanted, available)
        start = self._position
        self._position = start + count
        return memoryview(self._buffer)[start : start + count]

    def _exactly(self, count: int, *, at_end: bool = False) -> bytes | None:
        """Return count bytes; None for a clean end of the stream when at_end allows one."""
        start = self._position
        end = start + count
        if end <= len(self._buffer):
            self._position = end
            return self._buffer[start:end]
        parts = [self._buffer[start:]]
        have = len(parts[0])
        while have < count:
            chunk = self._source.read(_CHUNK) or b""
            if not chunk:
                if at_end and not have:
                    return None
                raise InvalidArchive("tar: the archive is truncated")
            parts.append(chunk)
            have += len(chunk)
            self._taken += len(chunk)
        self._buffer = b"".join(parts)
        self._position = count
        return self._buffer[:count]

    def _skip(self, count: int) -> None:
        available = len(self._buffer) - self._position
        if self._skip_source is not None and count - available >= self._worth:
            self._skip_source(count - available)
            self._taken += count - available
            self._buffer = b""
            self._position = count = 0
        while count > 0:
            count -= len(self._piece(count))


def _names(block: bytes, pending: _Pending) -> tuple[bytes, bytes]:
    """Return name and link target: PAX before GNU long names before the header's own fields."""
    pax = pending.pax
    name = pax.get(b"GNU.sparse.name") or pax.get(b"path") or pending.name
    if not name:
        name = header.text(block[:100])
        if block[257:263] == b"ustar\0":
            # star puts times behind a shorter prefix and its own mark at the end.
            prefix = header.text(block[345:476] if block[508:512] == b"tar\0" else block[345:500])
            if prefix:
                name = prefix + b"/" + name
    link = pax.get(b"linkpath") or pending.link or header.text(block[157:257])
    return name, link


def _attributes(entry: Entry, block: bytes, pax: Mapping[bytes, bytes]) -> None:
    """Fill in mode, owner, time, device numbers and extended attributes."""
    number = header.number
    entry.mode = number(block[100:108], "mode") & 0o7777
    uid, gid = number(block[108:116], "uid"), number(block[116:124], "gid")
    seconds = number(block[136:148], "mtime")
    if pax:
        if pax.get(b"uid"):
            uid = header.decimal(pax[b"uid"], "uid")
        if pax.get(b"gid"):
            gid = header.decimal(pax[b"gid"], "gid")
        entry.xattrs = header.pax_xattrs(pax)
    entry.uid = header.checked_id(uid, "uid")
    entry.gid = header.checked_id(gid, "gid")
    if pax.get(b"mtime"):
        entry.mtime_ns = header.pax_time(pax[b"mtime"])
    else:
        entry.mtime_ns = header.checked_seconds(seconds) * 10**9
    if entry.kind in {CHARACTER, BLOCK_DEVICE}:
        entry.major = number(block[329:337], "device number")
        entry.minor = number(block[337:345], "device number")
        # What the kernel's dev_t has room for (include/linux/kdev_t.h).
        if not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
            raise InvalidArchive(f"tar: device {entry.major}:{entry.minor} is out of range")
