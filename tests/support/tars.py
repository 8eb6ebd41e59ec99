"""Archives made to order, layers for snapshot drivers, and trees written down for comparison."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from knarr.content import digest as digests
from knarr.runtime.rootfs import open_root
from knarr.snapshots import tarwriter
from knarr.snapshots.driver import Driver, LayerSource
from knarr.snapshots.tarentry import DIRECTORY, FILE, HARDLINK, SYMLINK, Entry
from knarr.spec.mount import Mount
from tests.support import leftovers

Member = tuple[Entry, bytes]
Tree = dict[str, tuple[object, ...]]
WHEN = 1_600_000_000_123_456_789


def file(name: str | bytes, data: bytes = b"", **more: object) -> Member:
    more.setdefault("mtime_ns", WHEN)
    return Entry(os.fsencode(name), FILE, size=len(data), **more), data  # type: ignore[arg-type]


def directory(name: str | bytes, mode: int = 0o755, **more: object) -> Member:
    more.setdefault("mtime_ns", WHEN)
    return Entry(os.fsencode(name), DIRECTORY, mode=mode, **more), b""  # type: ignore[arg-type]


def symlink(name: str | bytes, target: str | bytes, **more: object) -> Member:
    more.setdefault("mtime_ns", WHEN)
    link = os.fsencode(target)
    return Entry(os.fsencode(name), SYMLINK, link=link, mode=0o777, **more), b""  # type: ignore[arg-type]


def hardlink(name: str | bytes, target: str | bytes) -> Member:
    return Entry(os.fsencode(name), HARDLINK, link=os.fsencode(target), mtime_ns=WHEN), b""


def node(name: str | bytes, kind: str, **more: object) -> Member:
    more.setdefault("mtime_ns", WHEN)
    return Entry(os.fsencode(name), kind, **more), b""  # type: ignore[arg-type]


def tar(*members: Member) -> bytes:
    return b"".join(tarwriter.pack((entry, [data]) for entry, data in members))


def source(data: bytes) -> LayerSource:
    return LayerSource(digests.of(data), lambda: io.BytesIO(data), len(data))


def commit(driver: Driver, *layers: bytes) -> str:
    """Commit layers on top of each other and return the top chain id."""
    parent: str | None = None
    for data in layers:
        layer = source(data)
        chain = digests.chain_id(parent, layer.diff_id)
        driver.commit_layer(chain, parent, layer)
        parent = chain
    assert parent is not None
    return parent


@contextmanager
def mounted(mounts: list[Mount]) -> Iterator[Path]:
    """The tree that mounts describe, as a path that works in this process only."""
    fd = open_root(mounts)
    try:
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


@contextmanager
def nothing_mounted_after(driver: Driver, folder: Path) -> Iterator[None]:
    """Have the driver give back what it mounted when the block is over; the rest is an error."""
    yield
    for key in driver.list_keys():
        driver.remove(key)
    driver.cleanup()
    assert leftovers.mounts(str(folder)) == []


def tree(root: Path, *, times: bool = True) -> Tree:
    """Everything about a tree that an archive can carry; hard links by their first name."""
    found: Tree = {}
    first: dict[tuple[int, int], str] = {}
    top = os.fsencode(str(root))
    pending = [b""]
    while pending:
        path = pending.pop()
        full = os.path.join(top, path) if path else top + b"/."
        status = os.lstat(full)
        name = os.fsdecode(path)
        kind = stat.S_IFMT(status.st_mode)
        content: object = None
        if kind == stat.S_IFDIR:
            children = sorted(os.listdir(full), reverse=True)
            pending += [path + b"/" + each if path else each for each in children]
        elif kind == stat.S_IFREG:
            content = (status.st_size, _digest(full))
        elif kind == stat.S_IFLNK:
            content = os.readlink(full)
        elif kind in {stat.S_IFCHR, stat.S_IFBLK}:
            content = status.st_rdev
        same = None
        if kind != stat.S_IFDIR and status.st_nlink > 1:
            same = first.setdefault((status.st_dev, status.st_ino), name)
        found[name] = (
            kind, oct(stat.S_IMODE(status.st_mode)), status.st_uid, status.st_gid, content, same,
            status.st_mtime_ns if times else None, _xattrs(full),
        )  # fmt: skip
    return found


def _digest(path: bytes) -> str:
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _xattrs(path: bytes) -> tuple[tuple[str, bytes], ...]:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    kept = [each for each in names if not each.startswith("trusted.")]
    return tuple((each, os.getxattr(path, each, follow_symlinks=False)) for each in kept)
