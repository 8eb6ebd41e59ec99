"""``cp``: Docker's rules of what lands where, the same for both directions.

Each side is an End: a container's root or the host's. Both pack and unpack by
way of ``snapshots.archive``, which resolves inside one root and follows nothing
at a last name, so a hostile archive cannot write past its destination.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from knarr.errors import InvalidArgument, NotFound
from knarr.snapshots import archive

if TYPE_CHECKING:
    from knarr.engine.container import Container
    from knarr.snapshots.archive import PathStat

_MOST_LINKS = 40  # as the kernel: path_resolution(7)


class Pieces:
    """Pieces of bytes as a stream to read forwards; counts what was read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")
        self.count = 0

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, nothing at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        self.count += len(data)
        return data


class End(Protocol):
    """One side of a copy. Paths are absolute; errors are knarr's."""

    def stat(self, path: str, *, follow: bool) -> PathStat:
        """Return what is at ``path``. Raises NotFound."""
        ...

    def get(self, path: str, *, follow: bool, name: str | None = None) -> Iterator[bytes]:
        """Return what is at ``path`` as a tar, under another name if one is given."""
        ...

    def put(self, directory: str, source: Pieces, *, keep_owner: bool) -> None:
        """Unpack a tar into ``directory``."""
        ...


class HostEnd:
    """The host's files, as the caller sees them."""

    def __init__(self) -> None:
        self._root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the root's descriptor."""
        os.close(self._root)

    def stat(self, path: str, *, follow: bool) -> PathStat:
        """Return what is at ``path``. Raises NotFound."""
        try:
            return archive.stat_path(self._root, path, follow=follow)
        except NotFound:
            raise NotFound(f"lstat {path}: no such file or directory") from None

    def get(self, path: str, *, follow: bool, name: str | None = None) -> Iterator[bytes]:
        """Return what is at ``path`` as a tar. Raises NotFound."""
        return archive.get_archive(self._root, path, follow=follow, name=name)

    def put(self, directory: str, source: Pieces, *, keep_owner: bool) -> None:
        """Unpack a tar; without ``keep_owner`` all belongs to the caller."""
        owner = None if keep_owner else (os.geteuid(), os.getegid())
        archive.put_archive(self._root, directory, source, owner=owner, keep_kinds=True)


class ContainerEnd:
    """A container's files."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def stat(self, path: str, *, follow: bool) -> PathStat:
        """Return what is at ``path``. Raises NotFound."""
        try:
            return self._container.stat_path(path, follow=follow)
        except NotFound:
            raise NotFound(
                f"Could not find the file {path} in container {self._container.name}"
            ) from None

    def get(self, path: str, *, follow: bool, name: str | None = None) -> Iterator[bytes]:
        """Return what is at ``path`` as a tar. Raises NotFound."""
        return self._container.get_archive(path, follow=follow, name=name)

    def put(self, directory: str, source: Pieces, *, keep_owner: bool) -> None:
        """Unpack a tar; without ``keep_owner`` all belongs to root inside."""
        owner = None if keep_owner else (0, 0)
        self._container.put_archive(directory, source, owner=owner, keep_kinds=True)  # type: ignore[arg-type]


def copy(
    source: End,
    path: str,
    target: End,
    destination: str,
    *,
    follow: bool = False,
    keep_owner: bool = False,
) -> int:
    """Copy ``path`` of one end to ``destination`` of the other; return the bytes of the archive.

    Raises NotFound, InvalidArgument, Conflict as Docker's command refuses.
    """
    contents = path.endswith("/.") or path == "."
    found = source.stat(path, follow=follow or path.endswith("/") or contents)
    is_directory = stat.S_ISDIR(found.mode)
    if not is_directory and (contents or path.endswith("/")):
        raise InvalidArgument(f"{path}: not a directory")
    directory, name = _landing(target, destination, is_directory=is_directory, contents=contents)
    if not (name is None and contents):
        path = path.rstrip("/") or "/"
    pieces = Pieces(source.get(path, follow=follow, name=name))
    target.put(directory, pieces, keep_owner=keep_owner)
    return pieces.count


def _landing(
    target: End, destination: str, *, is_directory: bool, contents: bool
) -> tuple[str, str | None]:
    """Return (directory to unpack into, new name of what is copied; None keeps the old)."""
    resolved = _resolve(target, destination)
    try:
        there = target.stat(resolved, follow=True)
    except NotFound:
        if destination.endswith("/") and not is_directory:
            raise InvalidArgument(f"{destination}: the destination directory must exist") from None
        parent, name = posixpath.split(resolved.rstrip("/"))
        if not stat.S_ISDIR(target.stat(parent or "/", follow=True).mode):
            raise InvalidArgument(f"{parent}: not a directory") from None
        return parent or "/", name
    if stat.S_ISDIR(there.mode):
        return resolved, None
    if is_directory or contents or destination.endswith("/"):
        raise InvalidArgument(f"{destination}: cannot copy a directory to a file")
    parent, name = posixpath.split(resolved)
    return parent or "/", name


def _resolve(target: End, path: str) -> str:
    """Return ``path`` with a symlink at its last name followed, inside the target's root."""
    path = path.rstrip("/") or "/"
    for _ in range(_MOST_LINKS):
        try:
            found = target.stat(path, follow=False)
        except NotFound:
            return path
        if not stat.S_ISLNK(found.mode):
            return path
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), found.link_target))
    raise InvalidArgument(f"{path}: too many levels of symbolic links")
