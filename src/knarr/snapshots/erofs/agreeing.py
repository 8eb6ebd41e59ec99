"""Whether a layer's table has said of it what its tar says.

Both come from whoever made the layer, and nothing but this holds them together: containers that
started early see the table's files, whoever comes later, scanners among them, the tar's.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from knarr.snapshots.erofs import format as disk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from knarr.snapshots.coming import Coming
    from knarr.snapshots.erofs.node import Node

# What an eStargz has in its tar and never in its table: the table itself.
_TABLE = b"stargz.index.json"
_STEP = 1024 * 1024


def difference(coming: Coming, table: Node, tar: Node, fd: int) -> bytes | None:
    """Return the path of something that the table has otherwise than the tar, None for nothing.

    Times are not compared, of which eStargz has whole seconds only. coming: has the contents that
    the table placed. fd: the tar. Raises OSError.
    """
    same: set[tuple[int, int]] = set()  # files that were compared under another name
    pending = [(b"", table, tar)]
    while pending:
        path, said, found = pending.pop()
        if _attributes(said) != _attributes(found):
            return path or b"/"
        if stat.S_ISREG(said.st_mode) and (id(said), id(found)) not in same:
            pairs = zip(_of_pieces(coming, said), _of_tar(fd, found), strict=True)
            if any(ours != theirs for ours, theirs in pairs):
                return path
            same.add((id(said), id(found)))
        ours, theirs = said.children or {}, found.children or {}
        names = ours.keys() ^ theirs.keys()
        if not path and _TABLE in theirs:
            names.discard(_TABLE)
        if names:
            return path + b"/" + min(names)
        pending += [(path + b"/" + name, each, theirs[name]) for name, each in ours.items()]
    return None


def _attributes(node: Node) -> tuple[object, ...]:
    size = 0 if node.children is not None else node.size
    return node.st_mode, node.st_rdev, node.owner, size, node.link, node.xattrs or {}, node.opaque


def _of_tar(fd: int, node: Node) -> Iterator[bytes]:
    start = node.block * disk.BLOCK
    for done in range(0, node.size, _STEP):
        yield _read(fd, min(_STEP, node.size - done), start + done)


def _of_pieces(coming: Coming, node: Node) -> Iterator[bytes]:
    """Yield the contents of a file that lie in pieces, in the same steps."""
    start = node.block * disk.BLOCK
    for done in range(0, node.size, _STEP):
        yield coming.read(start + done, min(_STEP, node.size - done))


def _read(fd: int, count: int, offset: int) -> bytes:
    data = b""
    while len(data) < count and (more := os.pread(fd, count - len(data), offset + len(data))):
        data += more
    return data
