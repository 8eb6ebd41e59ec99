"""``cp`` and ``export``: files into and out of a container, whether it runs or not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from knarr import errors
from knarr.engine import accounts, gone, halfstarted, held, sharing
from knarr.engine.ids import RANGE_SIZE
from knarr.engine.state import merged
from knarr.engine.translate import translated
from knarr.kernel import files
from knarr.runtime.removal import remove_tree
from knarr.snapshots import archive
from knarr.snapshots.archive import PathStat
from knarr.snapshots.idmap import IdMap, IdRange
from knarr.supervisor import state as states

if TYPE_CHECKING:
    from knarr.engine.container import Container
    from knarr.engine.engine import Engine

__all__ = ["DirectoryEntry", "PathStat"]

_END_SECONDS = 20.0  # for a supervisor to tell an end that the kernel knows of
_INSIDE = files.RESOLVE_IN_ROOT | files.RESOLVE_NO_MAGICLINKS


class DirectoryEntry(NamedTuple):
    """One name in a directory of a container: st_mode and bytes."""

    name: str
    mode: int
    size: int


def stat_path(engine: Engine, container: Container, path: str, *, follow: bool = False) -> PathStat:
    """Return what is at ``path``. Raises NotFound."""
    with _root(engine, container) as (root, _):
        return archive.stat_path(root, path, follow=follow)


def get_archive(
    engine: Engine,
    container: Container,
    path: str,
    *,
    follow: bool = False,
    name: str | None = None,
) -> Iterator[bytes]:
    """Yield a tar of ``path``, with the ids the container sees. Raises NotFound."""
    with _root(engine, container) as (root, idmap):
        yield from archive.get_archive(root, path, follow=follow, idmap=idmap, name=name)


def put_archive(
    engine: Engine,
    container: Container,
    path: str,
    source: BinaryIO,
    *,
    owner: tuple[int, int] | None = None,
    keep_kinds: bool = False,
) -> None:
    """Unpack a tar into the directory ``path``.

    owner: uid and gid inside for everything, None for the archive's own.
    Raises NotFound, InvalidArchive, Conflict, Forbidden for a read-only root.
    """
    config = container.config
    if config.read_only:
        raise errors.Forbidden("container rootfs is marked read-only")
    with _root(engine, container) as (root, idmap):
        archive.put_archive(root, path, source, owner=owner, idmap=idmap, keep_kinds=keep_kinds)


def export(engine: Engine, container: Container) -> Iterator[bytes]:
    """Yield the whole file system as a tar, without what is mounted in it."""
    with _root(engine, container) as (root, idmap):
        yield from archive.export_tree(root, idmap=idmap)


def list_directory(engine: Engine, container: Container, path: str) -> list[DirectoryEntry]:
    """Return what is in a directory, sorted by name. Raises NotFound, InvalidArgument."""
    with _root(engine, container) as (root, _):
        handle = _open_directory(root, path, os.O_RDONLY)
        try:
            with os.scandir(handle) as entries:
                found = [_entry(entry) for entry in entries]
        finally:
            os.close(handle)
    return sorted(found)


def remove_path(engine: Engine, container: Container, path: str) -> None:
    """Remove a file, or a directory with all in it. Raises NotFound, InvalidArgument."""
    parent, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise errors.InvalidArgument(f"{path}: cannot be removed")
    with _root(engine, container) as (root, _):
        archive.stat_path(root, path)
        handle = _open_directory(root, parent or "/", os.O_RDONLY)
        try:
            remove_tree(handle, os.fsencode(name))
        finally:
            os.close(handle)


def _entry(entry: os.DirEntry[str]) -> DirectoryEntry:
    info = entry.stat(follow_symlinks=False)
    return DirectoryEntry(entry.name, info.st_mode, info.st_size)


def _open_directory(root: int, path: str, how: int) -> int:
    found = archive.stat_path(root, path, follow=True)
    if not stat.S_ISDIR(found.mode):
        raise errors.InvalidArgument(f"{path}: is not a directory")
    return files.openat2(root, path, how | os.O_DIRECTORY, 0, _INSIDE)


@contextmanager
def _root(engine: Engine, container: Container) -> Iterator[tuple[int, IdMap | None]]:
    """Lend a descriptor of the root directory, and how ids look in it.

    Of a running container it is the one its first process sees, with all
    mounts, and owners are the host's ids. Of any other its layers are mounted
    for the while, under the operation lock, so that it cannot be started or removed
    meanwhile; there owners are as they are on disk. Raises Conflict for one that is being
    removed, NotFound.
    """
    with translated(f"container {container.name}"):
        while True:
            root = _running_root(container)
            if root is not None:
                try:
                    yield root, _idmap(engine, container)
                finally:
                    os.close(root)
                return
            with container.paths.locked():
                root = _resting_root(engine, container)
                if root is None:
                    continue
                try:
                    yield root, None
                finally:
                    os.close(root)
                return


def _resting_root(engine: Engine, container: Container) -> int | None:
    """Return the root of a container that does not run, None when it was started by now.

    The caller holds its lock. Raises NotFound, Conflict.
    """
    record = held.row(engine, container.paths)
    gone.refuse(record)
    halfstarted.settle(container.paths)
    if merged(record, container.paths).running:
        return None
    return accounts.open_root(engine.driver.mounts(record.id))


def _running_root(container: Container) -> int | None:
    """Return the root of the container's first process, None when it does not run.

    One that is just ending is waited for. Raises Timeout.
    """
    while (state := container.state).running:
        try:
            root = os.open(f"/proc/{state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            container.wait(_END_SECONDS)
            continue
        if states.start_time(state.pid) == state.start_time:
            return root
        os.close(root)  # of another process, which has its number by now
        container.wait(_END_SECONDS)
    return None


def _idmap(engine: Engine, container: Container) -> IdMap | None:
    slot = container.record.id_slot
    if slot is None:
        first = sharing.first_id(engine, container.record.config)
    else:
        first = engine.ranges.first_id(slot)
    if first is None:
        return None
    ranges = (IdRange(0, first, RANGE_SIZE),)
    return IdMap(ranges, ranges)
