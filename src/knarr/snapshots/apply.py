"""A layer's tar stream becomes a tree: a directory for overlayfs, or the plan of an image.

The rules are those of the OCI image spec (layer.md, "Applying Changesets"),
read as if the layer were applied to the merged tree of all layers below:

* a whiteout hides what is below, wherever in the stream it stands, and never
  what the same layer brings;
* a directory over a directory keeps the children and takes the new
  attributes; everything else replaces what was there, later entries win;
* parents are real directories or symlinks followed inside the root; missing
  ones are made as they are in the layers below;
* a hard link to a file below copies it up.

What the tree is made of is the matter of ``layertree`` and its subclasses.
Directories get their attributes last, so that neither their times, nor a
setgid bit, nor a default ACL changes what is created in them.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from knarr.errors import InvalidArchive
from knarr.kernel import filedata
from knarr.snapshots import nodes, tarentry, whiteouts
from knarr.snapshots.disktree import DiskTree
from knarr.snapshots.layertree import MAX_PATH

if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.snapshots.layertree import LayerTree
    from knarr.snapshots.lowers import Lowers
    from knarr.snapshots.tarentry import Entry
    from knarr.snapshots.tarstream import TarReader

H = TypeVar("H")

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
    tree = DiskTree(root, lowers)
    try:
        return fill(tree, reader)
    finally:
        tree.close()


def fill(tree: LayerTree[H], reader: TarReader) -> Applied:
    """Put every entry of a stream into a tree, then finish it; errors as for ``apply_layer``."""
    return _Applier(reader, tree).run()


def translated(error: OSError, name: bytes) -> Exception:
    """Return InvalidArchive for a refusal that the entry caused, else the error itself."""
    if error.errno in _ARCHIVE_FAULTS:
        return InvalidArchive(f"archive entry {name[:200]!r} cannot be made: {error.strerror}")
    return error


class _Applier(Generic[H]):
    """Puts each entry of a stream into the tree."""

    def __init__(self, reader: TarReader, tree: LayerTree[H]) -> None:
        self._reader = reader
        self._tree = tree
        self._size = 0

    def run(self) -> Applied:
        """Apply every entry, then finish the directories."""
        count = 0
        for entry in self._reader:
            count += 1
            try:
                self._entry(entry)
            except OSError as error:
                raise translated(error, entry.name) from None
        try:
            self._finish_whiteouts()
            self._tree.finish()
        except OSError as error:
            raise translated(error, b"./") from None
        return Applied(count, self._size)

    def _entry(self, entry: Entry) -> None:
        parts = clean_parts(entry.name)
        if not parts:
            if entry.kind != tarentry.DIRECTORY:
                raise InvalidArchive(f"layer: {entry.name!r} would replace the root directory")
            self._tree.describe_root(entry)
            return
        base = parts.pop()
        if base.startswith(whiteouts.PREFIX) or b".wh." in entry.name:
            special = whiteouts.meaning([*parts, base])
            if special is not None:
                self._whiteout(b"/".join(parts), *special)
                return
        parent, path = self._tree.parent(b"/".join(parts))
        self._tree.claim(path)
        path = path + b"/" + base if path else base
        if entry.kind == tarentry.DIRECTORY:
            self._tree.directory(parent, base, path, entry)
            self._tree.claim(path)
        elif entry.kind == tarentry.HARDLINK:
            self._hardlink(parent, base, path, entry)
        else:
            self._node(parent, base, path, entry)

    # Ordinary members

    def _node(self, parent: H, base: bytes, path: bytes, entry: Entry) -> None:
        if entry.kind == tarentry.CHARACTER and not entry.major and not entry.minor:
            raise InvalidArchive(f"layer: {path[:200]!r} is device 0:0, which marks deletions")
        make = self._tree.make
        self._replacing(parent, base, path, lambda: make(parent, base, entry, self._reader))
        if entry.kind == tarentry.FILE:
            self._size += (
                entry.size if entry.sparse is None else sum(each[1] for each in entry.sparse)
            )

    def _hardlink(self, parent: H, base: bytes, path: bytes, entry: Entry) -> None:
        parts = clean_parts(entry.link)
        if not parts:
            raise InvalidArchive(f"layer: {path[:200]!r} is a hard link to the root directory")
        target = parts.pop()
        with self._tree.held(parent) as kept:
            target_parent, target_path = self._tree.parent(b"/".join(parts))
            target_path = target_path + b"/" + target if target_path else target
            status = self._tree.status_in(target_parent, target)
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
            link = self._tree.link
            self._replacing(kept, base, path, lambda: link(target_parent, target, kept, base))

    def _copy_up(self, parent: H, base: bytes, path: bytes, entry: Entry) -> None:
        """Bring a file of a lower layer into this one, since a hard link names it."""
        found = None if self._tree.is_hidden(path) else self._tree.lowers.find(path)
        if found is None or stat.S_ISDIR(found.status.st_mode):
            raise InvalidArchive(
                f"layer: {entry.name[:200]!r} is a hard link to {entry.link[:200]!r},"
                " which is not there"
            )
        self._tree.borrow(path)
        copy = nodes.describe(found.base, found.place, path)
        if copy is None:
            raise InvalidArchive(f"layer: {entry.name[:200]!r} is a hard link to a socket")
        if copy.kind != tarentry.FILE:
            self._tree.make(parent, base, copy, ())
            return
        fd = filedata.open_file(found.base, found.place)
        try:
            stretches = filedata.data_map(fd, copy.size)
            self._tree.make(parent, base, copy, filedata.read_stretches(fd, stretches))
        finally:
            os.close(fd)
        self._size += copy.size

    def _replacing(self, parent: H, base: bytes, path: bytes, create: Callable[[], None]) -> None:
        """Create something that is no directory; what stands in its place goes first."""
        self._tree.forget_aliases()
        try:
            create()
        except FileExistsError:
            self._tree.remove(parent, base, path)
            create()

    # Whiteouts

    def _whiteout(self, raw_parent: bytes, what: str, name: bytes) -> None:
        if what == whiteouts.IGNORE or not self._tree.lowers or not self._tree.exists(raw_parent):
            return
        parent, path = self._tree.parent(raw_parent)
        self._tree.forget_aliases()
        if what == whiteouts.OPAQUE:
            self._tree.make_opaque(parent, b".", path)
            return
        path = path + b"/" + name if path else name
        if self._tree.is_hidden(path) or self._tree.lowers.find(path) is None:
            # Nothing to hide. Overlayfs merges only directories that exist
            # below; in others it would list a whiteout like a file.
            return
        try:
            self._tree.hide(parent, name)
        except FileExistsError:
            if self._tree.is_own(path):
                status = self._tree.status_in(parent, name)
                if status is not None and stat.S_ISDIR(status.st_mode):
                    self._tree.make_opaque(parent, name, path)
                return
            self._tree.remove(parent, name, path)
            self._tree.hide(parent, name)
        self._tree.borrow(path)

    def _finish_whiteouts(self) -> None:
        """Bring whiteouts and opaque marks into the form that overlayfs understands."""
        if b"" in self._tree.opaque:
            # Overlayfs does not look for the mark on a root directory: hide each name instead.
            self._tree.unmark_root()
            self._tree.opaque.clear()
            for name in sorted(self._tree.lowers.names(b"")):
                self._whiteout(b"", whiteouts.HIDE, name)
        self._tree.return_hidden()
