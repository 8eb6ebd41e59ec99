"""From a layer's tar to its index: what the snapshot driver calls."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from knarr.errors import InvalidArchive
from knarr.snapshots.apply import Applied, fill
from knarr.snapshots.erofs import format as disk
from knarr.snapshots.erofs import layout, pieces
from knarr.snapshots.erofs.rest import Rest
from knarr.snapshots.erofs.tree import ImageTree

if TYPE_CHECKING:
    from knarr.snapshots.lowers import Lowers
    from knarr.snapshots.tarstream import TarReader


class Planned(NamedTuple):
    """A layer's tree that ``write`` makes an image of, what it brought, blocks beside the tar."""

    tree: ImageTree
    applied: Applied
    rest_blocks: int


class Skipping:
    """A tar on disk as a ``tarstream.Source`` that passes over contents without reading them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = os.fstat(fd).st_size
        self._position = 0

    def read(self, size: int) -> bytes:
        """Return up to size bytes, b"" at the end."""
        data = os.pread(self._fd, size, self._position)
        self._position += len(data)
        return data

    def skip(self, count: int) -> None:
        """Go on by count bytes; raises InvalidArchive when there are fewer."""
        self._position += count
        if self._position > self.size:
            raise InvalidArchive("tar: the archive is truncated")


def plan(reader: TarReader, lowers: Lowers, directory: int, rest: str) -> Planned:
    """Read a layer's entries and return its tree.

    directory, rest: where a file goes for contents that the tar does not have in one piece;
    there is none when there are none. Raises what ``apply_layer`` raises, and CannotIndex for
    what an index cannot hold.
    """
    store = Rest(directory, rest)
    tree = ImageTree(lowers, store)
    try:
        applied = fill(tree, reader)
    finally:
        tree.close()
    return Planned(tree, applied, store.blocks)


def write(planned: Planned, uuid: bytes, tar_size: int, output: BinaryIO) -> None:
    """Write the image of a planned tree over a tar of tar_size bytes; errors of ``layout.write``.

    To mount it takes the tar as the first device, and the rest, if there is one, as the second.
    """
    devices = [(b"layer", (tar_size + disk.BLOCK - 1) // disk.BLOCK)]
    if planned.rest_blocks:
        devices.append((b"rest", planned.rest_blocks))
    layout.write(planned.tree.root, uuid, devices, output)


def write_in_pieces(
    planned: Planned, uuid: bytes, starts: list[int], size: int, output: BinaryIO
) -> None:
    """Write the image of a planned tree over a tar that lies there in pieces; see ``pieces``.

    starts: as ``pieces.cut`` gave them for ``size`` bytes of tar. To mount it takes the pieces
    as devices, in their order. The tree is for nothing else afterwards.
    """
    pieces.place(planned.tree.root, starts, pieces.unit(size))
    ends = [*starts[1:], size]
    devices = [
        (b"piece", (end - start + disk.BLOCK - 1) // disk.BLOCK)
        for start, end in zip(starts, ends, strict=True)
    ]
    layout.write(planned.tree.root, uuid, devices, output)
