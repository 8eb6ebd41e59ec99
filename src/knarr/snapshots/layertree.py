"""The directory that a layer is unpacked into: its parents, their attributes, what it hides.

Finds the directory an entry belongs in by walking the merged view of this
layer and those below, makes directories that are missing, and remembers which
attributes each gets when everything is in place.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from knarr.errors import InvalidArchive
from knarr.kernel.files import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from knarr.snapshots import nodes, tarentry, whiteouts
from knarr.snapshots.trees import OPEN_DIRECTORY, remove_tree

if TYPE_CHECKING:
    from knarr.snapshots.lowers import Found, Lowers
    from knarr.snapshots.tarentry import Entry

MAX_PATH = 4000  # bytes; PATH_MAX is 4096, and layers are reached by a short prefix
MAX_LINKS = 40  # as the kernel's own limit (path_resolution(7))
_CACHED_PARENTS = 64
_PARENT_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_NO_SYMLINKS = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
# A parent that nobody described, here or below. The time is fixed, so that the
# same layer gives the same tree wherever and whenever it is applied.
_UNDESCRIBED = tarentry.Entry(b"", tarentry.DIRECTORY, mode=0o755, mtime_ns=0)


class LayerTree:
    """One layer's directory while it is being filled. Nothing else changes it meanwhile."""

    def __init__(self, root: int, lowers: Lowers) -> None:
        self.root = root
        self.lowers = lowers
        self.opaque: set[bytes] = set()
        # Real directories of this layer with an open descriptor, least recently used first.
        self._parents: OrderedDict[bytes, int] = OrderedDict()
        # Parents as archives write them that lead through symlinks: where they end.
        self._aliases: dict[bytes, bytes] = {}
        # Directories that the archive itself brings, by an entry for them or below them.
        self._claimed: set[bytes] = set()
        # What stands here only on behalf of the layers below: whiteouts, parents of
        # whiteouts, files that hard links needed.
        self._borrowed: set[bytes] = set()
        # Attributes to give in the end.
        self._attributes: dict[bytes, Entry] = {b"": self._below_entry(b"")}

    def close(self) -> None:
        """Close every descriptor."""
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()

    def forget_aliases(self) -> None:
        """Resolve symlinked parents anew: something was put where a symlink may have been."""
        if self._aliases:
            self._aliases.clear()

    def describe_root(self, entry: Entry) -> None:
        """Let the root directory get that entry's attributes."""
        self._attributes[b""] = entry

    def claim(self, path: bytes) -> None:
        """Note that the archive brings something in this directory."""
        while path and path not in self._claimed:
            self._claimed.add(path)
            path = path.rpartition(b"/")[0]

    def borrow(self, path: bytes) -> None:
        """Note that this path is here on behalf of the layers below."""
        self._borrowed.add(path)

    def is_own(self, path: bytes) -> bool:
        """Return whether the archive itself brought what is at an existing path."""
        return path in self._claimed or path not in self._borrowed

    def parent(self, raw: bytes) -> tuple[int, bytes]:
        """Return (descriptor, real path) of a directory in this layer, making what is missing."""
        if not raw:
            return self.root, b""
        real = self._aliases.get(raw, raw)
        fd = self._parents.get(real)
        if fd is not None:
            self._parents.move_to_end(real)
            return fd, real
        try:
            fd = openat2(self.root, real, _PARENT_FLAGS, resolve=_NO_SYMLINKS)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            real = self._walk(raw, make=True) or b""
            if real != raw:
                self._aliases[raw] = real
            if not real:
                return self.root, b""
            fd = openat2(self.root, real, _PARENT_FLAGS, resolve=_NO_SYMLINKS)
        old = self._parents.pop(real, None)
        if old is not None:
            os.close(old)
        self._parents[real] = fd
        if len(self._parents) > _CACHED_PARENTS:
            os.close(self._parents.popitem(last=False)[1])
        return fd, real

    def exists(self, raw: bytes) -> bool:
        """Return whether raw is a directory in the merged view; makes nothing."""
        return not raw or self._walk(raw, make=False) is not None

    def _walk(self, raw: bytes, *, make: bool) -> bytes | None:
        """Resolve a parent step by step in the merged view; returns its real path.

        make: have every step as a directory of this layer. Without it None is
        returned when a step is no directory.
        """
        pending = deque(raw.split(b"/"))
        real = b""
        links = 0
        while pending:
            part = pending.popleft()
            if part in {b"", b"."}:
                continue
            if part == b"..":  # from a symlink's target; the root is its own parent
                real = real.rpartition(b"/")[0]
                continue
            path = real + b"/" + part if real else part
            status, found = self._look(path)
            if status is None or not stat.S_ISLNK(status.st_mode):
                if make:
                    self._make_step(real, part, path, status, found)
                elif status is None or not stat.S_ISDIR(status.st_mode):
                    return None
                real = path
                continue
            target = self.lowers.readlink(found) if found else self._readlink(real, part)
            links += 1
            if links > MAX_LINKS:
                raise InvalidArchive(f"layer: {raw[:200]!r} leads through too many symlinks")
            if target.startswith(b"/"):
                real = b""
            pending.extendleft(reversed(target.split(b"/")))
            if sum(map(len, pending)) + len(real) > MAX_PATH:
                raise InvalidArchive(f"layer: {raw[:200]!r} leads to a path that is too long")
        return real

    def _look(self, path: bytes) -> tuple[os.stat_result | None, Found | None]:
        """Return the status of a path in the merged view, and its place if that is below."""
        try:
            fd = openat2(self.root, path, os.O_PATH | os.O_NOFOLLOW, resolve=_NO_SYMLINKS)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            found = None if self.is_hidden(path) else self.lowers.find(path)
            return (found.status if found else None), found
        try:
            return os.fstat(fd), None
        finally:
            os.close(fd)

    def _readlink(self, above: bytes, part: bytes) -> bytes:
        return os.readlink(part, dir_fd=self.parent(above)[0])

    def _make_step(
        self,
        above: bytes,
        part: bytes,
        path: bytes,
        status: os.stat_result | None,
        found: Found | None,
    ) -> None:
        """Make sure that path, which is no symlink, is a directory of this layer."""
        if status is None or whiteouts.is_whiteout(status):
            self.directory(self.parent(above)[0], part, path, _UNDESCRIBED)
            self.borrow(path)
        elif not stat.S_ISDIR(status.st_mode):
            raise InvalidArchive(f"layer: {path[:200]!r} is a file, yet entries lie below it")
        elif found is not None:
            self.directory(self.parent(above)[0], part, path, self._below_entry(path))
            self.borrow(path)

    def is_hidden(self, path: bytes) -> bool:
        """Return whether this layer has hidden the lower layers' contents above path."""
        if not self.opaque:
            return False
        if b"" in self.opaque:
            return True
        above = path.rpartition(b"/")[0]
        while above:
            if above in self.opaque:
                return True
            above = above.rpartition(b"/")[0]
        return False

    def _below_entry(self, path: bytes) -> Entry:
        """Return the attributes that a directory has in the layers below."""
        found = self.lowers.find(path)
        if found is None:
            return _UNDESCRIBED
        return nodes.describe(self.lowers.base, found.place, path) or _UNDESCRIBED

    def directory(self, parent: int, base: bytes, path: bytes, entry: Entry) -> None:
        """Make a directory, or keep the one there; its attributes follow at the end."""
        try:
            os.mkdir(base, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode):
                os.unlink(base, dir_fd=parent)
                os.mkdir(base, 0o700, dir_fd=parent)
                # What was there before hid everything below: so does its successor.
                self.make_opaque(parent, base, path)
        self.forget_aliases()
        self._borrowed.discard(path)
        self._attributes[path] = entry

    def remove(self, parent: int, base: bytes, path: bytes) -> None:
        """Remove what an earlier entry of this layer put there."""
        status = os.stat(base, dir_fd=parent, follow_symlinks=False)
        self.forget_aliases()
        self._borrowed.discard(path)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(base, dir_fd=parent)
            return
        inside = path + b"/"
        for known in [p for p in self._parents if p == path or p.startswith(inside)]:
            os.close(self._parents.pop(known))
        remove_tree(parent, base)

    def make_opaque(self, parent: int, base: bytes, path: bytes) -> None:
        """Let a directory (base in parent) hide all that it has below."""
        if self.lowers:
            self.opaque.add(path)
            whiteouts.make_opaque(parent, base)

    def return_hidden(self) -> None:
        """Remove what was borrowed from below in directories that have become opaque since.

        They hide it anyway, and overlayfs lists a whiteout in them like a file.
        """
        for path in sorted(self._borrowed - self._claimed):
            if not self.is_hidden(path):
                continue
            above, _, name = path.rpartition(b"/")
            try:
                parent = openat2(self.root, above, _PARENT_FLAGS, resolve=_NO_SYMLINKS)
            except OSError:
                continue  # went with a directory above it
            try:
                if lstat(parent, name) is not None:
                    self.remove(parent, name, path)
            finally:
                os.close(parent)

    def finish(self) -> None:
        """Give every directory its attributes."""
        for path, entry in self._attributes.items():
            try:
                fd = openat2(self.root, path or b".", OPEN_DIRECTORY, resolve=_NO_SYMLINKS)
            except OSError as error:
                # A later entry replaced it, or one of its parents.
                if error.errno in _ABSENT:
                    continue
                raise
            try:
                nodes.set_attributes(fd, entry)
            finally:
                os.close(fd)


def lstat(parent: int, name: bytes) -> os.stat_result | None:
    """Return the status of a name in a directory, None when it is not there."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
