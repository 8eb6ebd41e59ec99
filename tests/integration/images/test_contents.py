"""Layers made to hurt, read from their tars and laid out by a driver: the trees are the same."""

import io
import stat
from pathlib import Path

import pytest

from knarr.images.contents import Contents, Node, read_layer
from knarr.snapshots import tarentry
from knarr.snapshots.drivers.overlay import Driver
from tests.integration.snapshots.test_umoci import CASES
from tests.support import tars

KINDS = {
    tarentry.FILE: stat.S_IFREG,
    tarentry.DIRECTORY: stat.S_IFDIR,
    tarentry.SYMLINK: stat.S_IFLNK,
    tarentry.CHARACTER: stat.S_IFCHR,
    tarentry.BLOCK_DEVICE: stat.S_IFBLK,
    tarentry.FIFO: stat.S_IFIFO,
}
Facts = dict[str, tuple[object, ...]]


def read(layers: list[bytes]) -> Facts:
    contents = Contents()
    for data in layers:
        contents.apply(read_layer(io.BytesIO(data)))
    found: Facts = {}
    pending: list[tuple[str, Node]] = [("", contents.root)]
    while pending:
        path, node = pending.pop()
        content: object = None
        if node.kind == tarentry.FILE:
            content = (node.size, node.content)
        elif node.kind == tarentry.SYMLINK:
            content = node.target
        mode = None if node.kind == tarentry.SYMLINK else oct(node.mode)
        found[path] = (KINDS[node.kind], mode, *node.owner, content)
        pending += [
            (f"{path}/{name.decode(errors='surrogateescape')}".lstrip("/"), child)
            for name, child in node.children.items()
        ]
    return found


def laid_out(layers: list[bytes], folder: Path) -> Facts:
    driver = Driver(str(folder))
    with tars.mounted(driver.view(tars.commit(driver, *layers))) as root:
        tree = tars.tree(root, times=False)
    found: Facts = {}
    for path, (kind, mode, uid, gid, content, *_) in tree.items():
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            content = None
        found[path] = (kind, None if kind == stat.S_IFLNK else mode, uid, gid, content)
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_same_tree_as_the_driver(case: str, tmp_path: Path) -> None:
    layers = CASES[case]
    ours, theirs = read(layers), laid_out(layers, tmp_path)
    # The root's own attributes are nobody's: an image need not name it.
    del ours[""], theirs[""]
    assert ours == theirs
