"""``Entry``: one member of a tar archive, between the reader, the writer and the disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from knarr.snapshots.tarheader import Sparse

FILE = "file"
DIRECTORY = "directory"
SYMLINK = "symlink"
HARDLINK = "hardlink"
CHARACTER = "character device"
BLOCK_DEVICE = "block device"
FIFO = "fifo"

_NO_XATTRS: Mapping[bytes, bytes] = {}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one archive may hold; more raises InvalidArchive.

    max_entries counts headers of every kind. max_bytes is the sum of the
    bytes stored for files (holes of sparse files are free); None: no limit
    but the disk's.
    """

    max_entries: int = 10_000_000
    max_bytes: int | None = None


class Entry:
    """One member of an archive.

    name and link are as stored, not yet checked for ``..`` and the like.
    mode: permission bits with setuid, setgid, sticky. size: bytes of the
    file's contents, holes included. mtime_ns: nanoseconds since 1970.
    sparse: stretches of data, None for an ordinary file.
    """

    __slots__ = (
        "gid",
        "kind",
        "link",
        "major",
        "minor",
        "mode",
        "mtime_ns",
        "name",
        "size",
        "sparse",
        "uid",
        "xattrs",
    )

    def __init__(
        self,
        name: bytes,
        kind: str,
        *,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        size: int = 0,
        mtime_ns: int = 0,
        link: bytes = b"",
        major: int = 0,
        minor: int = 0,
        xattrs: Mapping[bytes, bytes] | None = None,
        sparse: Sparse | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.mtime_ns = mtime_ns
        self.link = link
        self.major = major
        self.minor = minor
        self.xattrs = xattrs or _NO_XATTRS
        self.sparse = sparse

    def __repr__(self) -> str:
        return f"Entry({self.name!r}, {self.kind!r}, mode={self.mode:#o}, size={self.size})"
