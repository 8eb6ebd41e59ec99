"""A layer's tar stream becomes a directory for overlayfs.

The rules are those of the OCI image spec (layer.md, "Applying Changesets"),
read as if the layer were applied to the merged tree of all layers below:

* a whiteout hides what is below, wherever in the stream it stands, and never
  what the same layer brings;
* a directory over a directory keeps the children and takes the new
  attributes; everything else replaces what was there, later entries win;
* parents are real directories or symlinks followed inside the root; missing
  ones are made as they are in the layers below;
* a hard link to a file below copies it up.

The directory being filled belongs to us alone until it is committed, and
nothing existing is ever opened for writing, so the only symlinks that can get
in the way are the archive's own. Descriptors of parents come from openat2 with
RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS: the kernel itself refuses to leave.
Directories get their attributes last, so that neither their times, nor a
setgid bit, nor a default ACL changes what is created in them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, NamedTuple

from knarr.errors import InvalidArchive
from knarr.kernel.files import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from knarr.snapshots import nodes, tarentry, whiteouts
from knarr.snapshots.trees import OPEN_DIRECTORY, remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.snapshots.lowers import Found, Lowers
    from knarr.snapshots.tarentry import Entry
    from knarr.snapshots.tarstream import TarReader

MAX_PATH = 4000  # bytes; PATH_MAX is 4096, and layers are reached by a short prefix
MAX_LINKS = 40  # as the kernel's own limit (path_resolution(7))
_CACHED_PARENTS = 64
_PARENT_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
_NO_SYMLINKS = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
# A parent that nobody described, here or below. The time is fixed, so that the
# same layer gives the same tree wherever and whenever it is applied.
_UNDESCRIBED = tarentry.Entry(b"", tarentry.DIRECTORY, mode=0o755, mtime_ns=0)
# What the kernel answers when the archive, not the machine, is at fault.
_ARCHIVE_FAULTS = {
    errno.EEXIST,
    errno.EFBIG,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.EMLINK,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EOVERFLOW,
}


class Applied(NamedTuple):
    """What a layer brought: entries, and bytes stored in files."""

    entries: int
    size: int


def clean_parts(name: bytes) -> list[bytes]:
    """Return the components of an archive member's name below the root.

    A leading ``/`` is dropped as tar(1) does; ``..`` is resolved by name.
    Raises InvalidArchive for names that leave the root, are too long or hold NUL.
    """
    if len(name) > MAX_PATH or b"\0" in name:
        raise InvalidArchive(f"archive: the name {name[:80]!r}... is too long or holds NUL")
    parts = [part for part in name.split(b"/") if part and part != b"."]
    if b".." in parts:
        kept: list[bytes] = []
        for part in parts:
            if part != b"..":
                kept.append(part)
            elif not kept:
                raise InvalidArchive(f"archive: {name[:200]!r} leads outside the root")
            else:
                kept.pop()
        return kept
    return parts


def apply_layer(root: int, reader: TarReader, lowers: Lowers) -> Applied:
    """Fill the empty directory root with a layer; returns what it brought.

    Raises InvalidArchive for whatever is wrong with the archive, OSError for
    what is wrong with the machine (ENOSPC, EIO). The directory is then of no
    use and the caller removes it. Nothing is synced to disk here.
    """
    applier = _Applier(root, reader, lowers)
    try:
        return applier.run()
    finally:
        applier.close()


def translated(error: OSError, name: bytes) -> Exception:
    """Return InvalidArchive for a refusal that the entry caused, else the error itself."""
    if error.errno in _ARCHIVE_FAULTS:
        return InvalidArchive(f"archive entry {name[:200]!r} cannot be made: {error.strerror}")
    return error


class _Applier:
    """The state of one application."""

    def __init__(self, root: int, reader: TarReader, lowers: Lowers) -> None:
        self._root = root
        self._reader = reader
        self._lowers = lowers
        # Real directories of this layer with an open descriptor, least recently used first.
        self._parents: OrderedDict[bytes, int] = OrderedDict()
        # Parents as archives write them that lead through symlinks: where they end.
        self._aliases: dict[bytes, bytes] = {}
        # Attributes to give in the end.
        self._directories: dict[bytes, Entry] = {}
        self._whiteouts: set[bytes] = set()
        self._opaque: set[bytes] = set()
        self._size = 0

    def run(self) -> Applied:
        """Apply every entry, then finish the directories."""
        count = 0
        self._directories[b""] = self._below_entry(b"")
        for entry in self._reader:
            count += 1
            try:
                self._entry(entry)
            except OSError as error:
                raise translated(error, entry.name) from None
        self._finish_whiteouts()
        self._finish_directories()
        return Applied(count, self._size)

    def close(self) -> None:
        """Close every descriptor."""
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()

    def _entry(self, entry: Entry) -> None:
        parts = clean_parts(entry.name)
        if not parts:
            if entry.kind != tarentry.DIRECTORY:
                raise InvalidArchive(f"layer: {entry.name!r} would replace the root directory")
            self._directories[b""] = entry
            return
        base = parts.pop()
        if base.startswith(whiteouts.PREFIX) or b".wh." in entry.name:
            special = whiteouts.meaning([*parts, base])
            if special is not None:
                self._whiteout(b"/".join(parts), *special)
                return
        parent, path = self._parent(b"/".join(parts))
        path = path + b"/" + base if path else base
        if entry.kind == tarentry.DIRECTORY:
            self._directory(parent, base, path, entry)
        elif entry.kind == tarentry.HARDLINK:
            self._hardlink(parent, base, path, entry)
        else:
            self._node(parent, base, path, entry)

    # Ordinary members

    def _node(self, parent: int, base: bytes, path: bytes, entry: Entry) -> None:
        if entry.kind == tarentry.CHARACTER and not entry.major and not entry.minor:
            raise InvalidArchive(f"layer: {path[:200]!r} is device 0:0, which marks deletions")
        data = self._reader.segments()
        self._replacing(parent, base, path, lambda: nodes.make(parent, base, entry, data))
        if entry.kind == tarentry.FILE:
            self._size += (
                entry.size if entry.sparse is None else sum(each[1] for each in entry.sparse)
            )

    def _hardlink(self, parent: int, base: bytes, path: bytes, entry: Entry) -> None:
        parts = clean_parts(entry.link)
        if not parts:
            raise InvalidArchive(f"layer: {path[:200]!r} is a hard link to the root directory")
        target = parts.pop()
        # Looking the target up may close cached descriptors: keep ours.
        kept = os.dup(parent)
        try:
            target_parent, target_path = self._parent(b"/".join(parts))
            target_path = target_path + b"/" + target if target_path else target
            status = _lstat(target_parent, target)
            if status is None:
                self._copy_up(target_parent, target, target_path, entry)
            elif whiteouts.is_whiteout(status):
                raise InvalidArchive(f"layer: {path[:200]!r} is a hard link to a deleted file")
            elif stat.S_ISDIR(status.st_mode):
                raise InvalidArchive(f"layer: {path[:200]!r} is a hard link to a directory")
            if target_path == path:
                return
            if target_path.startswith(path + b"/"):
                raise InvalidArchive(f"layer: {path[:200]!r} is a hard link into itself")
            self._replacing(
                kept,
                base,
                path,
                lambda: os.link(
                    target, base, src_dir_fd=target_parent, dst_dir_fd=kept, follow_symlinks=False
                ),
            )
        finally:
            os.close(kept)

    def _copy_up(self, parent: int, base: bytes, path: bytes, entry: Entry) -> None:
        """Bring a file of a lower layer into this one, since a hard link names it."""
        found = None if self._is_hidden(path) else self._lowers.find(path)
        if found is None or stat.S_ISDIR(found.status.st_mode):
            raise InvalidArchive(
                f"layer: {entry.name[:200]!r} is a hard link to {entry.link[:200]!r},"
                " which is not there"
            )
        copy = nodes.describe(self._lowers.base, found.place, path)
        if copy is None:
            raise InvalidArchive(f"layer: {entry.name[:200]!r} is a hard link to a socket")
        if copy.kind != tarentry.FILE:
            nodes.make(parent, base, copy, ())
            return
        fd = nodes.open_file(self._lowers.base, found.place)
        try:
            stretches = nodes.data_map(fd, copy.size)
            nodes.make(parent, base, copy, nodes.read_stretches(fd, stretches))
        finally:
            os.close(fd)
        self._size += copy.size

    def _replacing(self, parent: int, base: bytes, path: bytes, create: Callable[[], None]) -> None:
        """Create something that is no directory; what stands in its place goes first."""
        self._aliases.clear()
        try:
            create()
        except FileExistsError:
            self._remove(parent, base, path)
            create()

    def _directory(self, parent: int, base: bytes, path: bytes, entry: Entry) -> None:
        """Make a directory, or keep the one there; its attributes follow at the end."""
        try:
            os.mkdir(base, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode):
                os.unlink(base, dir_fd=parent)
                os.mkdir(base, 0o700, dir_fd=parent)
                # What was there before hid everything below: so does its successor.
                self._make_opaque(parent, base, path)
        if self._aliases:
            self._aliases.clear()
        self._directories[path] = entry

    def _remove(self, parent: int, base: bytes, path: bytes) -> None:
        """Remove what an earlier entry of this layer put there."""
        status = os.stat(base, dir_fd=parent, follow_symlinks=False)
        self._aliases.clear()
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(base, dir_fd=parent)
            return
        inside = path + b"/"
        for known in [p for p in self._parents if p == path or p.startswith(inside)]:
            os.close(self._parents.pop(known))
        remove_tree(parent, base)

    # Whiteouts

    def _whiteout(self, raw_parent: bytes, what: str, name: bytes) -> None:
        if what == whiteouts.IGNORE or not self._lowers:
            return
        parent, path = self._parent(raw_parent)
        self._aliases.clear()
        if what == whiteouts.OPAQUE:
            self._make_opaque(parent, b".", path)
            return
        path = path + b"/" + name if path else name
        if self._is_hidden(path) or self._lowers.find(path) is None:
            # Nothing to hide. Overlayfs merges only directories that exist
            # below; in others it would list a whiteout like a file.
            return
        self._whiteouts.add(path)
        try:
            whiteouts.make_whiteout(parent, name)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._make_opaque(parent, name, path)

    def _make_opaque(self, parent: int, base: bytes, path: bytes) -> None:
        if self._lowers:
            self._opaque.add(path)
            whiteouts.make_opaque(parent, base)

    def _finish_whiteouts(self) -> None:
        """Bring whiteouts and opaque marks into the form that overlayfs understands."""
        if b"" in self._opaque:
            # Overlayfs does not look for the mark on a root directory: hide each name instead.
            os.removexattr(self._root, whiteouts.OPAQUE_XATTR)
            self._opaque.clear()
            for name in sorted(self._lowers.names(b"")):
                self._whiteout(b"", whiteouts.HIDE, name)
        for path in sorted(self._whiteouts):
            if self._is_hidden(path):
                # Made before its directory became opaque, which hides it all anyway.
                self._drop_whiteout(path)

    def _drop_whiteout(self, path: bytes) -> None:
        above, _, name = path.rpartition(b"/")
        try:
            parent = openat2(self._root, above, _PARENT_FLAGS, resolve=_NO_SYMLINKS)
        except OSError:
            return  # a later entry replaced the directory
        try:
            status = _lstat(parent, name)
            if status is not None and whiteouts.is_whiteout(status):
                os.unlink(name, dir_fd=parent)
        finally:
            os.close(parent)

    # Parents

    def _parent(self, raw: bytes) -> tuple[int, bytes]:
        """Return (descriptor, real path) of a directory in this layer, making what is missing."""
        if not raw:
            return self._root, b""
        real = self._aliases.get(raw, raw)
        fd = self._parents.get(real)
        if fd is not None:
            self._parents.move_to_end(real)
            return fd, real
        try:
            fd = openat2(self._root, real, _PARENT_FLAGS, resolve=_NO_SYMLINKS)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                raise
            real = self._walk(raw)
            if real != raw:
                self._aliases[raw] = real
            if not real:
                return self._root, b""
            fd = openat2(self._root, real, _PARENT_FLAGS, resolve=_NO_SYMLINKS)
        old = self._parents.pop(real, None)
        if old is not None:
            os.close(old)
        self._parents[real] = fd
        if len(self._parents) > _CACHED_PARENTS:
            os.close(self._parents.popitem(last=False)[1])
        return fd, real

    def _walk(self, raw: bytes) -> bytes:
        """Resolve a parent step by step in the merged view; returns its real path."""
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
            target = self._step(real, part, path)
            if target is None:
                real = path
                continue
            links += 1
            if links > MAX_LINKS:
                raise InvalidArchive(f"layer: {raw[:200]!r} leads through too many symlinks")
            if target.startswith(b"/"):
                real = b""
            pending.extendleft(reversed(target.split(b"/")))
            if sum(map(len, pending)) + len(real) > MAX_PATH:
                raise InvalidArchive(f"layer: {raw[:200]!r} leads to a path that is too long")
        return real

    def _step(self, above: bytes, part: bytes, path: bytes) -> bytes | None:
        """Make sure that path is a directory of this layer, or return the symlink's target."""
        parent, _ = self._parent(above)
        status = _lstat(parent, part)
        found: Found | None = None
        if status is None and not self._is_hidden(path):
            found = self._lowers.find(path)
            status = found.status if found else None
        if status is None:
            self._directory(parent, part, path, _UNDESCRIBED)
        elif stat.S_ISLNK(status.st_mode):
            return self._lowers.readlink(found) if found else os.readlink(part, dir_fd=parent)
        elif stat.S_ISDIR(status.st_mode):
            if found is not None:
                self._directory(parent, part, path, self._below_entry(path))
        elif whiteouts.is_whiteout(status):
            self._directory(parent, part, path, _UNDESCRIBED)
        else:
            raise InvalidArchive(f"layer: {path[:200]!r} is a file, yet entries lie below it")
        return None

    def _is_hidden(self, path: bytes) -> bool:
        """Return whether this layer has hidden the lower layers' contents above path."""
        if not self._opaque:
            return False
        if b"" in self._opaque:
            return True
        above = path.rpartition(b"/")[0]
        while above:
            if above in self._opaque:
                return True
            above = above.rpartition(b"/")[0]
        return False

    def _below_entry(self, path: bytes) -> Entry:
        """Return the attributes that a directory has in the layers below."""
        found = self._lowers.find(path)
        if found is None:
            return _UNDESCRIBED
        return nodes.describe(self._lowers.base, found.place, path) or _UNDESCRIBED

    # The end

    def _finish_directories(self) -> None:
        for path, entry in self._directories.items():
            try:
                fd = openat2(self._root, path or b".", OPEN_DIRECTORY, resolve=_NO_SYMLINKS)
            except OSError as error:
                # A later entry replaced it, or one of its parents.
                if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                    continue
                raise translated(error, path) from None
            try:
                nodes.set_attributes(fd, entry)
            finally:
                os.close(fd)


def _lstat(parent: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
