"""How deletions are written: in layer archives, and on disk for overlayfs.

Archives (OCI image spec layer.md, "Whiteouts"): a file ``.wh.NAME`` hides NAME
of the layers below, ``.wh..wh..opq`` hides all that the directory has there;
other ``.wh..wh.*`` names are aufs's own and mean nothing to us.
Disk (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
directories"): a character device 0:0, and an attribute on the directory.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from knarr.errors import InvalidArchive

if TYPE_CHECKING:
    from knarr.snapshots.layertree import Status

PREFIX = b".wh."
META_PREFIX = b".wh..wh."
OPAQUE_MARKER = b".wh..wh..opq"
OPAQUE_XATTR = "trusted.overlay.opaque"
OPAQUE = "opaque"
HIDE = "hide"
IGNORE = "ignore"


def meaning(parts: list[bytes]) -> tuple[str, bytes] | None:
    """Return what an archive member's name asks for, None for an ordinary member.

    parts are the components of its cleaned path. The result is one of
    (``opaque``, b""), (``hide``, NAME), (``ignore``, b"").
    Raises InvalidArchive for whiteouts of nothing, of ``.`` or of ``..``.
    """
    for part in parts[:-1]:
        if part.startswith(META_PREFIX):
            return IGNORE, b""
        if part.startswith(PREFIX):
            raise InvalidArchive(f"layer: {b'/'.join(parts)[:200]!r} lies inside a whiteout")
    base = parts[-1]
    if not base.startswith(PREFIX):
        return None
    if base == OPAQUE_MARKER:
        return OPAQUE, b""
    if base.startswith(META_PREFIX):
        return IGNORE, b""
    target = base[len(PREFIX) :]
    if target in {b"", b".", b".."}:
        raise InvalidArchive(f"layer: whiteout {b'/'.join(parts)[:200]!r} names nothing to hide")
    return HIDE, target


def is_whiteout(status: Status) -> bool:
    """Return whether that inode is an overlayfs whiteout."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def make_whiteout(parent: int, name: bytes) -> None:
    """Create a whiteout for name in the directory; raises FileExistsError, OSError."""
    os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent)


def make_opaque(parent: int, name: bytes) -> None:
    """Mark the directory name (b"." for parent itself) as hiding everything below it."""
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.setxattr(fd, OPAQUE_XATTR, b"y")
    finally:
        os.close(fd)


def is_opaque(path: bytes | int) -> bool:
    """Return whether that directory (a path, not followed, or a descriptor) is opaque."""
    try:
        if isinstance(path, int):
            return os.getxattr(path, OPAQUE_XATTR) == b"y"
        return os.getxattr(path, OPAQUE_XATTR, follow_symlinks=False) == b"y"
    except OSError:
        return False  # ENODATA, or a file system without attributes
