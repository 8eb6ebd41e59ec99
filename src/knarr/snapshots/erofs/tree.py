"""A layer as a tree in memory, made by the rules of ``layertree`` and refused like a real one."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from knarr.snapshots import tarentry
from knarr.snapshots.erofs import attributes
from knarr.snapshots.erofs import format as disk
from knarr.snapshots.erofs.limits import CannotIndex
from knarr.snapshots.erofs.node import Node
from knarr.snapshots.layertree import LayerTree
from knarr.snapshots.tarstream import TarReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from knarr.snapshots.erofs.rest import Rest
    from knarr.snapshots.layertree import Data
    from knarr.snapshots.lowers import Lowers
    from knarr.snapshots.tarentry import Entry

TAR, REST = 1, 2  # devices
_PATH_MAX = 4095
# What a tree may take of memory, by a rough count: a layer that needs more is unpacked.
_MEMORY = 256 * 1024 * 1024
_NODE_COST = 500
_KINDS = {
    tarentry.FILE: stat.S_IFREG,
    tarentry.SYMLINK: stat.S_IFLNK,
    tarentry.CHARACTER: stat.S_IFCHR,
    tarentry.BLOCK_DEVICE: stat.S_IFBLK,
    tarentry.FIFO: stat.S_IFIFO,
}


class ImageTree(LayerTree[Node]):
    """The tree of one layer; contents stay in the tar, or go to ``rest`` where they cannot.

    Besides what the rules raise, every method that makes something raises CannotIndex.
    """

    def __init__(self, lowers: Lowers, rest: Rest) -> None:
        super().__init__(Node(stat.S_IFDIR), lowers)
        self._rest = rest
        self._cost = 0
        self._known: dict[bytes, Node] = {}  # directories by path, while nothing is removed

    def close(self) -> None:
        """Close the file of contents that are not in the tar."""
        self._rest.close()

    def open_directory(self, path: bytes) -> Node:
        """Return the directory at a path."""
        node = self._known.get(path)
        if node is None:
            node = self._at(path)
            if node is None:
                raise _refused(errno.ENOENT)
            if node.children is None:
                raise _refused(errno.ENOTDIR)
            self._known[path] = node
        return node

    def _at(self, path: bytes) -> Node | None:
        if len(path) > _PATH_MAX:
            raise _refused(errno.ENAMETOOLONG)
        node: Node | None = self.root
        for name in path.split(b"/"):
            if node is None or node.children is None:
                return None
            node = node.children.get(_checked(name))
        return node

    def status_at(self, path: bytes) -> Node | None:
        """Return the node at a path, None for nothing."""
        return self._at(path)

    def status_in(self, at: Node, name: bytes) -> Node | None:
        """Return the node of a name in a directory, None for nothing."""
        return _inside(at).get(_checked(name))

    def readlink(self, at: Node, name: bytes) -> bytes:
        """Return the target of a symlink."""
        return _inside(at)[name].link

    def mkdir(self, at: Node, name: bytes) -> None:
        """Make an empty directory."""
        self._put(at, name, Node(stat.S_IFDIR))

    def _put(self, at: Node, name: bytes, node: Node) -> None:
        children = _inside(at)
        if _checked(name) in children:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._cost += _NODE_COST + len(name) + len(node.link)
        if node.xattrs:
            self._cost += sum(len(key) + len(value) for key, value in node.xattrs.items())
        if self._cost > _MEMORY:
            raise CannotIndex("more entries than fit into memory")
        children[name] = node

    def unlink(self, at: Node, name: bytes) -> None:
        """Remove what is no directory."""
        del _inside(at)[name]

    def remove_any(self, at: Node, name: bytes, path: bytes) -> None:
        """Remove whatever is there."""
        del path
        self._known.clear()
        del _inside(at)[name]

    def mark_opaque(self, at: Node, name: bytes) -> None:
        """Note that a directory hides what is below."""
        (at if name == b"." else _inside(at)[name]).opaque = True

    def unmark_root(self) -> None:
        """Take that note from the root."""
        self.root.opaque = False

    def hide(self, at: Node, name: bytes) -> None:
        """Make overlayfs's whiteout, a device 0:0."""
        self._put(at, name, Node(stat.S_IFCHR))

    def make(self, at: Node, name: bytes, entry: Entry, data: TarReader | Data) -> None:
        """Make an inode; of a file that is whole in the tar only its place is noted."""
        node = Node(_KINDS[entry.kind] | entry.mode)
        node.owner = (entry.uid, entry.gid)
        node.mtime_ns = entry.mtime_ns
        if entry.kind == tarentry.SYMLINK:
            if not 0 < len(entry.link) <= _PATH_MAX:
                raise _refused(errno.ENAMETOOLONG if entry.link else errno.ENOENT)
            node.st_mode = stat.S_IFLNK | 0o777
            node.link = entry.link
            node.size = len(entry.link)
        elif entry.kind in {tarentry.CHARACTER, tarentry.BLOCK_DEVICE}:
            node.st_rdev = disk.device_number(entry.major, entry.minor)
        node.xattrs = attributes.kept(entry, node.st_mode)
        if name in _inside(at):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if entry.kind == tarentry.FILE and entry.size:
            self._contents(node, entry, data)
        self._put(at, name, node)

    def _contents(self, node: Node, entry: Entry, data: TarReader | Data) -> None:
        """Note where the contents of a file are, or store them."""
        node.size = entry.size
        if entry.size > disk.MAX_FILE:
            raise CannotIndex("a file of more than 1 TiB")
        if isinstance(data, TarReader) and entry.sparse is None:
            node.device, node.block = TAR, data.offset // disk.BLOCK
            if node.block + entry.size // disk.BLOCK >= disk.MAX_BLOCK:
                raise CannotIndex("2 TiB and more")
            return
        stretches = data.segments() if isinstance(data, TarReader) else data
        node.device, node.block = REST, self._rest.add(entry.size, stretches)

    def link(self, source: Node, target: bytes, at: Node, name: bytes) -> None:
        """Make a further name of an inode."""
        self._put(at, name, _inside(source)[target])

    @contextlib.contextmanager
    def held(self, at: Node) -> Iterator[Node]:
        """Return the directory itself: it stays what it is."""
        yield at

    def set_attributes(self, path: bytes, entry: Entry) -> None:
        """Give a directory its attributes, if it is still one."""
        node = self._at(path) if path else self.root
        if node is None or node.children is None:
            return
        node.st_mode = stat.S_IFDIR | entry.mode
        node.owner = (entry.uid, entry.gid)
        node.mtime_ns = entry.mtime_ns
        node.xattrs = attributes.kept(entry, node.st_mode)


def _inside(node: Node) -> dict[bytes, Node]:
    if node.children is None:
        raise _refused(errno.ENOTDIR)
    return node.children


def _checked(name: bytes) -> bytes:
    if len(name) > disk.NAME_MAX:
        raise _refused(errno.ENAMETOOLONG)
    return name


def _refused(code: int) -> OSError:
    return OSError(code, os.strerror(code))
