"""A deterministic tar writer: the same entries always give the same bytes.

ustar headers, and a PAX header only in front of entries that need one: long
or non-UTF-8 names, ids and sizes beyond the octal fields, times with
nanoseconds, extended attributes, sparse files (PAX sparse 1.0, which GNU tar,
bsdtar and Go read). No user or group names, no access times, no local state.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from knarr.snapshots import tarentry as kinds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from knarr.snapshots.tarentry import Entry
    from knarr.snapshots.tarheader import Sparse

BLOCK = 512
END = bytes(2 * BLOCK)
_FLAGS = {
    kinds.FILE: b"0",
    kinds.HARDLINK: b"1",
    kinds.SYMLINK: b"2",
    kinds.CHARACTER: b"3",
    kinds.BLOCK_DEVICE: b"4",
    kinds.DIRECTORY: b"5",
    kinds.FIFO: b"6",
}
_MAX_OCTAL_7 = 0o7777777
_MAX_OCTAL_11 = 0o77777777777


def entry_header(entry: Entry) -> bytes:
    """Return the header blocks of an entry, up to where its data begins.

    For a file with ``entry.sparse`` they include the sparse map, and the data
    to follow are the stretches only: ``stored_size(entry)`` bytes.
    """
    records = _records(entry)
    name = entry.name
    prefix_data = b""
    stored = stored_size(entry)
    if entry.sparse is not None and entry.kind == kinds.FILE:
        prefix_data = _sparse_map(entry.sparse)
        stored += len(prefix_data)
        records[b"GNU.sparse.major"] = b"1"
        records[b"GNU.sparse.minor"] = b"0"
        records[b"GNU.sparse.name"] = name
        records[b"GNU.sparse.realsize"] = b"%d" % entry.size
        records.pop(b"path", None)
        name = b"GNUSparseFile.0/" + name.rpartition(b"/")[2]
    if stored > _MAX_OCTAL_11:
        records[b"size"] = b"%d" % stored
    parts = []
    if records:
        parts.append(_extended(entry.name, records))
    parts.append(_ustar(name, entry, stored))
    parts.append(prefix_data)
    return b"".join(parts)


def stored_size(entry: Entry) -> int:
    """Return how many bytes of data follow the header (sparse maps not counted)."""
    if entry.kind != kinds.FILE:
        return 0
    if entry.sparse is not None:
        return sum(length for _, length in entry.sparse)
    return entry.size


def padding(size: int) -> bytes:
    """Return the zeros that fill the last block after size bytes of data."""
    return bytes(-size % BLOCK)


def pack(members: Iterable[tuple[Entry, Iterable[bytes]]]) -> Iterator[bytes]:
    """Yield a whole archive of (entry, its stored data in pieces), end marker included.

    The pieces must add up to ``stored_size(entry)``.
    """
    for entry, data in members:
        yield entry_header(entry)
        yield from data
        fill = padding(stored_size(entry))
        if fill:
            yield fill
    yield END


def _records(entry: Entry) -> dict[bytes, bytes]:
    """Return the PAX records an entry needs, apart from size and sparse ones."""
    records: dict[bytes, bytes] = {}
    path = _stored_name(entry)
    if _needs_record(path):
        records[b"path"] = path
    if entry.link and _needs_record(entry.link):
        records[b"linkpath"] = entry.link
    if not all(_is_utf8(value) for value in records.values()):
        records[b"hdrcharset"] = b"BINARY"
    if entry.uid > _MAX_OCTAL_7:
        records[b"uid"] = b"%d" % entry.uid
    if entry.gid > _MAX_OCTAL_7:
        records[b"gid"] = b"%d" % entry.gid
    seconds, fraction = divmod(entry.mtime_ns, 10**9)
    if fraction or not 0 <= seconds <= _MAX_OCTAL_11:
        records[b"mtime"] = _pax_time(entry.mtime_ns)
    for name, value in entry.xattrs.items():
        if b"=" in name or not _is_utf8(name):
            key = b"LIBARCHIVE.xattr." + quote_from_bytes(name, safe="").encode()
            records[key] = base64.b64encode(value)
        else:
            records[b"SCHILY.xattr." + name] = value
    return records


def _stored_name(entry: Entry) -> bytes:
    if entry.kind == kinds.DIRECTORY and not entry.name.endswith(b"/"):
        return entry.name + b"/"
    return entry.name


def _needs_record(name: bytes) -> bool:
    return len(name) > 100 or not _is_utf8(name)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _pax_time(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, fraction = divmod(abs(nanoseconds), 10**9)
    if not fraction:
        return sign + b"%d" % seconds
    return sign + b"%d." % seconds + (b"%09d" % fraction).rstrip(b"0")


def _sparse_map(sparse: Sparse) -> bytes:
    numbers = [len(sparse)]
    for offset, length in sparse:
        numbers += [offset, length]
    data = b"".join(b"%d\n" % number for number in numbers)
    return data + padding(len(data))


def _extended(name: bytes, records: dict[bytes, bytes]) -> bytes:
    """Return a local extended header (POSIX pax) with the records in sorted order."""
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    base = name.rstrip(b"/").rpartition(b"/")[2]
    shell = kinds.Entry(b"PaxHeaders.0/" + base, kinds.FILE, mode=0o644)
    return _ustar(shell.name, shell, len(body), b"x") + body + padding(len(body))


def _record(key: bytes, value: bytes) -> bytes:
    """Return one PAX record; its length counts its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return b"%d" % length + rest


def _ustar(name: bytes, entry: Entry, stored: int, flag: bytes | None = None) -> bytes:
    """Return one 512-byte header; values that do not fit stand in PAX records."""
    if entry.kind == kinds.DIRECTORY and not name.endswith(b"/"):
        name += b"/"
    seconds = entry.mtime_ns // 10**9
    block = b"".join(
        (
            name[:100].ljust(100, b"\0"),
            b"%07o\0" % (entry.mode & 0o7777),
            b"%07o\0" % (entry.uid if entry.uid <= _MAX_OCTAL_7 else 0),
            b"%07o\0" % (entry.gid if entry.gid <= _MAX_OCTAL_7 else 0),
            b"%011o\0" % (stored if stored <= _MAX_OCTAL_11 else 0),
            b"%011o\0" % (seconds if 0 <= seconds <= _MAX_OCTAL_11 else 0),
            b"        ",
            flag or _FLAGS[entry.kind],
            entry.link[:100].ljust(100, b"\0"),
            b"ustar\x0000",
            bytes(64),
            b"%07o\0" % entry.major,
            b"%07o\0" % entry.minor,
            bytes(167),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
