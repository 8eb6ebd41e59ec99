"""Where each inode of an image goes, and the bytes of it.

Metadata first: inodes in the order of a walk, each with its attributes and what is stored
behind it (the end of a directory or of a symlink's target, where a file's contents are).
After it the whole blocks of directories and long targets.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, BinaryIO

from knarr.snapshots.erofs import format as disk
from knarr.snapshots.erofs.limits import CannotIndex
from knarr.snapshots.whiteouts import OPAQUE_XATTR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from knarr.snapshots.erofs.node import Node

_TYPES = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFLNK: 7,
}  # FT_* of linux/fs_types.h
_OPAQUE = OPAQUE_XATTR.encode()
_Entry = tuple[bytes, int, int]


def write(root: Node, uuid: bytes, devices: list[tuple[bytes, int]], output: BinaryIO) -> None:
    """Write an image of the tree; see ``format.head`` for uuid and devices.

    Raises CannotIndex for attributes that are too large, OSError. Nothing is synced.
    """
    layout = _Layout(root, disk.metadata_start(len(devices)))
    metadata, blocks = layout.render()
    size = layout.end + len(blocks)
    if size // disk.BLOCK > disk.MAX_BLOCK:
        raise CannotIndex("metadata of 2 TiB")
    output.write(
        disk.head(
            uuid,
            blocks=size // disk.BLOCK,
            inodes=len(layout.nodes),
            root_nid=root.nid,
            devices=devices,
        )
    )
    output.write(metadata)
    output.write(blocks)


class _Place:
    """How an inode is stored: the byte it begins at, whole blocks of data, bytes behind it."""

    __slots__ = ("blocks", "first", "layout", "node", "parent", "position", "size", "tail")

    def __init__(self, node: Node, parent: Node, position: int) -> None:
        self.node = node
        self.parent = parent
        self.position = position
        self.layout = disk.FLAT_PLAIN
        self.size = 0
        self.blocks = 0  # of data of its own, beginning with number ``first`` of all such
        self.first = 0
        self.tail = 0


class _Layout:
    """Places for all nodes of a tree, found in one walk."""

    def __init__(self, root: Node, start: int) -> None:
        self.nodes: list[_Place] = []
        self._start = self._position = start
        self._blocks = 0
        self._place(root, root)
        pending = [root]
        while pending:
            parent = pending.pop()
            children = parent.children or {}
            directories = []
            for name in sorted(children):
                node = children[name]
                node.links += 1
                if node.children is not None:
                    parent.links += 1
                    directories.append(node)
                if not node.nid:
                    self._place(node, parent)
            pending += reversed(directories)
        self.end = self._position + -self._position % disk.BLOCK

    def _place(self, node: Node, parent: Node) -> None:
        """Give a node the next free place."""
        attributes = node.xattrs or {}
        if node.opaque:
            attributes = {**attributes, _OPAQUE: b"y"}
        node.body = disk.xattr_body(attributes)
        if len(node.body) > disk.MAX_XATTRS:
            raise CannotIndex("extended attributes of more than 256 KiB")
        place = _Place(node, parent, self._position)
        length = disk.INODE_SIZE + len(node.body)
        if node.children is not None:
            node.links = 2  # its name and "."; ".." in each directory below is one more
            *whole, last = _runs(node.children)
            self._flat(place, length, *divmod(len(whole) * disk.BLOCK + _length(last), disk.BLOCK))
        elif stat.S_ISLNK(node.st_mode):
            self._flat(place, length, *divmod(node.size, disk.BLOCK))
        elif node.device:
            place.layout = disk.CHUNK_BASED
            place.size = node.size
            self._position += _aligned(length, 8) + 8 * _chunks(node)
        else:
            self._position += length
        self._position = _aligned(self._position, disk.SLOT)
        node.nid = place.position // disk.SLOT
        self.nodes.append(place)

    def _flat(self, place: _Place, length: int, whole: int, tail: int) -> None:
        """Place an inode with whole blocks of data, and a tail behind it where that fits.

        A tail must not cross a block's end, so the inode may have to move on a little.
        """
        place.size = whole * disk.BLOCK + tail
        place.blocks, place.first = whole, self._blocks
        over = (place.position + length) % disk.BLOCK + tail - disk.BLOCK
        if tail and over > 0:
            moved = _aligned(disk.BLOCK - (place.position + length) % disk.BLOCK, disk.SLOT)
            if (place.position + moved + length) % disk.BLOCK + tail > disk.BLOCK or (
                moved > disk.BLOCK - tail
            ):
                place.blocks += 1  # a block of its own wastes less
                tail = 0
            else:
                place.position += moved
        if tail:
            place.layout = disk.FLAT_INLINE
            place.tail = tail
        self._blocks += place.blocks
        self._position = place.position + length + tail

    def render(self) -> tuple[bytearray, bytearray]:
        """Return the metadata, padded to a block, and the blocks that follow it."""
        metadata, blocks = bytearray(), bytearray()
        base = self.end // disk.BLOCK
        for number, place in enumerate(self.nodes, 1):
            node = place.node
            metadata += bytes(place.position - self._start - len(metadata))
            metadata += disk.inode(
                place.layout,
                mode=node.st_mode,
                xattrs=len(node.body),
                size=place.size,
                data=_data_word(place, base),
                number=number,
                owner=node.owner,
                mtime_ns=node.mtime_ns,
                links=node.links,
            )
            metadata += node.body
            if place.layout == disk.CHUNK_BASED:
                metadata += bytes(-len(metadata) % 8)
                metadata += disk.chunk_index(node.device, node.block)
                for further in range(1, _chunks(node)):
                    metadata += disk.chunk_index(node.device + further, 0)
                continue
            for piece in _data(place):
                if place.tail and len(blocks) // disk.BLOCK == place.first + place.blocks:
                    metadata += piece
                else:
                    blocks += piece.ljust(disk.BLOCK, b"\0")
        metadata += bytes(self.end - self._start - len(metadata))
        return metadata, blocks


def _chunks(node: Node) -> int:
    return (node.size + node.chunk - 1) // node.chunk if node.chunk else 1


def _data_word(place: _Place, base: int) -> int:
    if place.layout == disk.CHUNK_BASED:
        return disk.chunk_format(place.node.chunk or place.size)
    if place.blocks:
        return base + place.first
    return place.node.st_rdev


def _data(place: _Place) -> Iterator[bytes]:
    """Yield a directory's or symlink's contents, block by block, the last one not padded."""
    node = place.node
    if node.children is None:
        for start in range(0, len(node.link), disk.BLOCK):
            yield node.link[start : start + disk.BLOCK]
        return
    for run in _runs(node.children):
        yield disk.dirents([_dirent(name, node, place.parent) for name in run])


def _dirent(name: bytes, directory: Node, parent: Node) -> _Entry:
    if name == b".":
        return name, directory.nid, _TYPES[stat.S_IFDIR]
    if name == b"..":
        return name, parent.nid, _TYPES[stat.S_IFDIR]
    assert directory.children is not None
    node = directory.children[name]
    return name, node.nid, _TYPES[stat.S_IFMT(node.st_mode)]


def _runs(children: dict[bytes, Node]) -> list[list[bytes]]:
    """Return a directory's names, sorted, in the groups that fill one block each."""
    names = sorted([b".", b"..", *children])
    if _length(names) <= disk.BLOCK:
        return [names]
    runs: list[list[bytes]] = []
    room = 0
    for name in names:
        needed = disk.DIRENT_SIZE + len(name)
        if needed > room:
            runs.append([])
            room = disk.BLOCK
        runs[-1].append(name)
        room -= needed
    return runs


def _length(names: list[bytes]) -> int:
    return disk.DIRENT_SIZE * len(names) + sum(map(len, names))


def _aligned(value: int, unit: int) -> int:
    return value + -value % unit
