"""A tar cut into pieces, each a file and a device of its own.

A layer that is still on its way is mounted over such pieces: what has not come of one is beyond
the end of its file, and reading there is an error, whoever is alive and whoever is not. That a hole
in one large file would read as zeros is why there is no such file.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from knarr.snapshots.erofs import format as disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from knarr.snapshots.erofs.node import Node

# Bytes that are fetched for one that is read; a power of two. More for tars of which there would
# be too many pieces: each is a file, and takes 128 bytes of the image.
_SMALLEST = 256 * 1024
_MOST = 4096
TAR = 1  # the device that a planned tree has its contents on


def unit(size: int) -> int:
    """Return how long a piece of a tar of so many bytes may be."""
    length = _SMALLEST
    while size > length * _MOST // 2:
        length *= 2
    return length


def cut(root: Node, size: int) -> list[int]:
    """Return where the pieces of a tar of ``size`` bytes begin, which has the contents of a tree.

    The contents of a file are in one piece, or begin one and go on in the next ones.
    """
    length = unit(size)
    starts = [0]
    for first, end in sorted({_extent(node) for node in _files(root)}):
        while first - starts[-1] > length:  # behind the file before this one: it is not cut here
            starts.append(starts[-1] + length)
        if end - starts[-1] > length:
            if first > starts[-1]:
                starts.append(first)
            while end - starts[-1] > length:
                starts.append(starts[-1] + length)
    while size - starts[-1] > length:
        starts.append(starts[-1] + length)
    return starts


def place(root: Node, starts: list[int], length: int) -> None:
    """Move the contents of all files of a tree from the tar to its pieces."""
    for node in {id(node): node for node in _files(root)}.values():
        first, end = _extent(node)
        number = bisect_right(starts, first) - 1
        following = starts[number + 1] if number + 1 < len(starts) else end
        node.device = number + 1
        node.block = (first - starts[number]) // disk.BLOCK
        node.chunk = length if end > following else 0


def _extent(node: Node) -> tuple[int, int]:
    first = node.block * disk.BLOCK
    return first, first + node.size + -node.size % disk.BLOCK


def _files(root: Node) -> Iterator[Node]:
    pending: list[Iterable[Node]] = [(root,)]
    while pending:
        for node in pending.pop():
            if node.children is not None:
                pending.append(node.children.values())
            elif node.device == TAR:
                yield node
