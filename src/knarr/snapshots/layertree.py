"""What a layer becomes: its parents, their attributes, what it hides. On disk or in memory.

Finds the directory an entry belongs in by walking the merged view of this
layer and those below, makes directories that are missing, and remembers which
attributes each gets when everything is in place. These are the rules; where a
layer is a directory (``disktree``) and where it is an image being planned
(``erofs.tree``) the few things that touch it are done by a subclass, so both
give the same tree and refuse the same archives.
"""

from __future__ import annotations

import errno
import stat
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from knarr.errors import InvalidArchive
from knarr.snapshots import nodes, tarentry, whiteouts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from knarr.snapshots.lowers import Found, Lowers
    from knarr.snapshots.tarentry import Entry
    from knarr.snapshots.tarstream import TarReader

    Data = Iterable[tuple[int, memoryview]]
    """(offset, bytes) of each stretch of a file, ascending."""

MAX_PATH = 4000  # bytes; PATH_MAX is 4096, and layers are reached by a short prefix
MAX_LINKS = 40  # as the kernel's own limit (path_resolution(7))
ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
# A parent that nobody described, here or below. The time is fixed, so that the
# same layer gives the same tree wherever and whenever it is applied.
_UNDESCRIBED = tarentry.Entry(b"", tarentry.DIRECTORY, mode=0o755, mtime_ns=0)

H = TypeVar("H")


class Status(Protocol):
    """What the rules ask of an inode; ``os.stat_result`` has it."""

    @property
    def st_mode(self) -> int:
        """Kind and permission bits (inode(7))."""

    @property
    def st_rdev(self) -> int:
        """Number of a device."""


class LayerTree(ABC, Generic[H]):
    """One layer while it is being filled. Nothing else changes it meanwhile.

    H is how a directory of it is held: a descriptor, or the directory itself.
    """

    def __init__(self, root: H, lowers: Lowers) -> None:
        self.root = root
        self.lowers = lowers
        self.opaque: set[bytes] = set()
        # Parents as archives write them that lead through symlinks: where they end.
        self._aliases: dict[bytes, bytes] = {}
        # Directories that the archive itself brings, by an entry for them or below them.
        self._claimed: set[bytes] = set()
        # What stands here only on behalf of the layers below: whiteouts, parents of
        # whiteouts, files that hard links needed.
        self._borrowed: set[bytes] = set()
        # Attributes to give in the end.
        self._attributes: dict[bytes, Entry] = {b"": self._below_entry(b"")}

    # What a subclass does. All raise OSError as the kernel would.

    @abstractmethod
    def open_directory(self, path: bytes) -> H:
        """Return the directory at a path that leads through no symlink."""

    @abstractmethod
    def status_at(self, path: bytes) -> Status | None:
        """Return what is at a path that leads through no symlink, None for nothing."""

    @abstractmethod
    def status_in(self, at: H, name: bytes) -> Status | None:
        """Return what a directory has under a name, None for nothing."""

    @abstractmethod
    def readlink(self, at: H, name: bytes) -> bytes:
        """Return the target of a symlink."""

    @abstractmethod
    def mkdir(self, at: H, name: bytes) -> None:
        """Make an empty directory."""

    @abstractmethod
    def unlink(self, at: H, name: bytes) -> None:
        """Remove what is no directory."""

    @abstractmethod
    def remove_any(self, at: H, name: bytes, path: bytes) -> None:
        """Remove whatever is there, with all that is in it. path: where it is in the layer."""

    @abstractmethod
    def mark_opaque(self, at: H, name: bytes) -> None:
        """Have a directory (``.``: at itself) hide all that the layers below have there."""

    @abstractmethod
    def unmark_root(self) -> None:
        """Take that mark from the root."""

    @abstractmethod
    def hide(self, at: H, name: bytes) -> None:
        """Make a whiteout."""

    @abstractmethod
    def make(self, at: H, name: bytes, entry: Entry, data: TarReader | Data) -> None:
        """Make what an entry describes. data: the archive that stands at it, or its stretches."""

    @abstractmethod
    def link(self, source: H, target: bytes, at: H, name: bytes) -> None:
        """Make a further name of an inode."""

    @abstractmethod
    def held(self, at: H) -> AbstractContextManager[H]:
        """Return a directory that stays usable while others are looked up."""

    @abstractmethod
    def set_attributes(self, path: bytes, entry: Entry) -> None:
        """Give a directory its attributes; nothing when it is not there any more."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held."""

    # Rules

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

    def parent(self, raw: bytes) -> tuple[H, bytes]:
        """Return (directory, its real path) of a parent in this layer, making what is missing."""
        if not raw:
            return self.root, b""
        real = self._aliases.get(raw, raw)
        try:
            return self.open_directory(real), real
        except OSError as error:
            if error.errno not in ABSENT:
                raise
        real = self._walk(raw, make=True) or b""
        if real != raw:
            self._aliases[raw] = real
        return (self.open_directory(real) if real else self.root), real

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
            if found is not None:
                target = self.lowers.readlink(found)
            else:
                target = self.readlink(self.parent(real)[0], part)
            links += 1
            if links > MAX_LINKS:
                raise InvalidArchive(f"layer: {raw[:200]!r} leads through too many symlinks")
            if target.startswith(b"/"):
                real = b""
            pending.extendleft(reversed(target.split(b"/")))
            if sum(map(len, pending)) + len(real) > MAX_PATH:
                raise InvalidArchive(f"layer: {raw[:200]!r} leads to a path that is too long")
        return real

    def _look(self, path: bytes) -> tuple[Status | None, Found | None]:
        """Return the status of a path in the merged view, and its place if that is below."""
        status = self.status_at(path)
        if status is not None:
            return status, None
        found = None if self.is_hidden(path) else self.lowers.find(path)
        return (found.status if found else None), found

    def _make_step(
        self,
        above: bytes,
        part: bytes,
        path: bytes,
        status: Status | None,
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
        return nodes.describe(found.base, found.place, path) or _UNDESCRIBED

    def directory(self, parent: H, base: bytes, path: bytes, entry: Entry) -> None:
        """Make a directory, or keep the one there; its attributes follow at the end."""
        try:
            self.mkdir(parent, base)
        except FileExistsError:
            status = self.status_in(parent, base)
            if status is None or not stat.S_ISDIR(status.st_mode):
                self.unlink(parent, base)
                self.mkdir(parent, base)
                # What was there before hid everything below: so does its successor.
                self.make_opaque(parent, base, path)
        self.forget_aliases()
        self._borrowed.discard(path)
        self._attributes[path] = entry

    def remove(self, parent: H, base: bytes, path: bytes) -> None:
        """Remove what an earlier entry of this layer put there."""
        self.forget_aliases()
        self._borrowed.discard(path)
        self.remove_any(parent, base, path)

    def make_opaque(self, parent: H, base: bytes, path: bytes) -> None:
        """Let a directory (base in parent) hide all that it has below."""
        if self.lowers:
            self.opaque.add(path)
            self.mark_opaque(parent, base)

    def return_hidden(self) -> None:
        """Remove what was borrowed from below in directories that have become opaque since.

        They hide it anyway, and overlayfs lists a whiteout in them like a file.
        """
        for path in sorted(self._borrowed - self._claimed):
            if not self.is_hidden(path):
                continue
            above, _, name = path.rpartition(b"/")
            try:
                parent = self.open_directory(above)
            except OSError:
                continue  # went with a directory above it
            if self.status_in(parent, name) is not None:
                self.remove(parent, name, path)

    def finish(self) -> None:
        """Give every directory its attributes."""
        for path, entry in self._attributes.items():
            self.set_attributes(path, entry)
