"""Whether what containers see of an image is what its layers say, file by file.

The layers are read from their tars, and laid out by the driver as for a container, in no mount
namespace but this process's.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from knarr.images import layers
from knarr.images.contents import Contents, Node, read_layer
from knarr.images.context import Context, told_of
from knarr.runtime.rootfs import open_root
from knarr.snapshots import tarentry, whiteouts

if TYPE_CHECKING:
    from knarr.images.index import ImageRecord

# Beyond that a file may be a hole for the most part, whose bytes ``contents`` does not read.
_LONGEST = 1024**3
_KINDS = {
    stat.S_IFREG: tarentry.FILE,
    stat.S_IFDIR: tarentry.DIRECTORY,
    stat.S_IFLNK: tarentry.SYMLINK,
    stat.S_IFCHR: tarentry.CHARACTER,
    stat.S_IFBLK: tarentry.BLOCK_DEVICE,
    stat.S_IFIFO: tarentry.FIFO,
}


def differences(context: Context, record: ImageRecord) -> Iterator[str]:
    """Yield ``PATH: what is otherwise`` for each file that is not as the layers say.

    The driver has the image's layers. Raises InvalidArchive, NotFound for a layer's blob, OSError.
    """
    contents = Contents()
    for layer in record.layers:
        with (
            told_of(f"layer {layer.digest[:19]}"),
            layers.open_layer(context.store, layer.digest) as stream,
        ):
            contents.apply(read_layer(stream))
    # Before Linux 6.8 a mount is made in a mount namespace of its own, which ends with its thread.
    with ThreadPoolExecutor(1) as pool:
        root = pool.submit(open_root, context.driver.view(record.chain_id)).result()
    try:
        yield from _below(contents.root, f"/proc/self/fd/{root}".encode(), b"")
    finally:
        os.close(root)


def _below(node: Node, root: bytes, path: bytes) -> Iterator[str]:
    there = set(os.listdir(root + (path or b"/.")))
    for name in sorted(there | node.children.keys()):
        inner = path + b"/" + name
        child = node.children.get(name)
        if name not in there:
            yield f"{_text(inner)}: missing"
            continue
        status = os.lstat(root + inner)
        if child is None:
            if not whiteouts.is_whiteout(status):
                yield f"{_text(inner)}: in no layer"
            continue
        what = _otherwise(child, status, root + inner)
        if what:
            yield f"{_text(inner)}: {what}"
        elif child.is_directory:
            yield from _below(child, root, inner)


def _otherwise(node: Node, status: os.stat_result, path: bytes) -> str:
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "unknown")
    if kind != node.kind:
        return f"a {kind} instead of a {node.kind}"
    if kind == tarentry.SYMLINK:
        return "" if os.readlink(path) == node.target else "another target"
    if stat.S_IMODE(status.st_mode) != stat.S_IMODE(node.mode):
        return f"mode {stat.S_IMODE(status.st_mode):04o} instead of {stat.S_IMODE(node.mode):04o}"
    if (status.st_uid, status.st_gid) != node.owner:
        return "another owner"
    if kind in (tarentry.CHARACTER, tarentry.BLOCK_DEVICE):
        device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        return "" if device == node.device else "another device"
    if kind != tarentry.FILE:
        return ""
    if status.st_size != node.size:
        return f"{status.st_size} bytes instead of {node.size}"
    if status.st_size > _LONGEST:
        return ""
    with open(path, "rb", buffering=0) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if found == node.content else "other bytes"


def _text(path: bytes) -> str:
    return path.decode(errors="surrogateescape")
