"""A layer being filled as a directory on disk, for overlayfs.

The directory belongs to us alone until it is committed, and nothing existing
is ever opened for writing, so the only symlinks that can get in the way are
the archive's own. Descriptors of parents come from openat2 with
RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS: the kernel itself refuses to leave.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from typing import TYPE_CHECKING

from knarr.kernel.files import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from knarr.runtime.removal import remove_tree
from knarr.runtime.trees import OPEN_DIRECTORY
from knarr.snapshots import nodes, whiteouts
from knarr.snapshots.layertree import ABSENT, LayerTree
from knarr.snapshots.tarstream import TarReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from knarr.snapshots.layertree import Data
    from knarr.snapshots.lowers import Lowers
    from knarr.snapshots.tarentry import Entry

_CACHED_PARENTS = 64
_PARENT_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
_NO_SYMLINKS = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS


class DiskTree(LayerTree[int]):
    """The empty directory behind a descriptor, which stays the caller's."""

    def __init__(self, root: int, lowers: Lowers) -> None:
        super().__init__(root, lowers)
        # Real directories of this layer with an open descriptor, least recently used first.
        self._parents: OrderedDict[bytes, int] = OrderedDict()

    def close(self) -> None:
        """Close every descriptor."""
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()

    def open_directory(self, path: bytes) -> int:
        """Return the descriptor of a directory, which stays open for the next of its entries."""
        fd = self._parents.get(path)
        if fd is not None:
            self._parents.move_to_end(path)
            return fd
        fd = openat2(self.root, path, _PARENT_FLAGS, resolve=_NO_SYMLINKS)
        self._parents[path] = fd
        if len(self._parents) > _CACHED_PARENTS:
            os.close(self._parents.popitem(last=False)[1])
        return fd

    def status_at(self, path: bytes) -> os.stat_result | None:
        """Return the status of a path, None when nothing is there."""
        try:
            fd = openat2(self.root, path, os.O_PATH | os.O_NOFOLLOW, resolve=_NO_SYMLINKS)
        except OSError as error:
            if error.errno not in ABSENT:
                raise
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def status_in(self, at: int, name: bytes) -> os.stat_result | None:
        """Return the status of a name in a directory, None when it is not there."""
        try:
            return os.stat(name, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def readlink(self, at: int, name: bytes) -> bytes:
        """Return the target of a symlink."""
        return os.readlink(name, dir_fd=at)

    def mkdir(self, at: int, name: bytes) -> None:
        """Make a directory that only we may enter; its attributes come last."""
        os.mkdir(name, 0o700, dir_fd=at)

    def unlink(self, at: int, name: bytes) -> None:
        """Remove what is no directory."""
        os.unlink(name, dir_fd=at)

    def remove_any(self, at: int, name: bytes, path: bytes) -> None:
        """Remove a file or a whole directory, and forget the descriptors of what was in it."""
        inside = path + b"/"
        for known in [p for p in self._parents if p == path or p.startswith(inside)]:
            os.close(self._parents.pop(known))
        remove_tree(at, name)

    def mark_opaque(self, at: int, name: bytes) -> None:
        """Set overlayfs's mark on a directory."""
        whiteouts.make_opaque(at, name)

    def unmark_root(self) -> None:
        """Take overlayfs's mark from the root."""
        os.removexattr(self.root, whiteouts.OPAQUE_XATTR)

    def hide(self, at: int, name: bytes) -> None:
        """Make overlayfs's whiteout."""
        whiteouts.make_whiteout(at, name)

    def make(self, at: int, name: bytes, entry: Entry, data: TarReader | Data) -> None:
        """Make an inode with its contents and attributes."""
        stretches = data.segments() if isinstance(data, TarReader) else data
        nodes.make(at, name, entry, stretches)

    def link(self, source: int, target: bytes, at: int, name: bytes) -> None:
        """Make a hard link."""
        os.link(target, name, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False)

    @contextlib.contextmanager
    def held(self, at: int) -> Iterator[int]:
        """Return another descriptor: looking up others may close the cached one."""
        kept = os.dup(at)
        try:
            yield kept
        finally:
            os.close(kept)

    def set_attributes(self, path: bytes, entry: Entry) -> None:
        """Give a directory its attributes; one that a later entry replaced is left out."""
        try:
            fd = openat2(self.root, path or b".", OPEN_DIRECTORY, resolve=_NO_SYMLINKS)
        except OSError as error:
            if error.errno in ABSENT:
                return
            raise
        try:
            nodes.set_attributes(fd, entry)
        finally:
            os.close(fd)
