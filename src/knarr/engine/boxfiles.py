"""``box.files``: the file system of a sandbox, read and written from outside."""

from __future__ import annotations

import builtins
import io
import os
import posixpath
import stat
import tarfile
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple, cast

from knarr.errors import InvalidArchive, InvalidArgument, NotFound
from knarr.snapshots import tarwriter
from knarr.snapshots.archive import put_archive
from knarr.snapshots.tarentry import DIRECTORY, FILE, HARDLINK, SYMLINK, Entry
from knarr.snapshots.tarstream import TarReader

if TYPE_CHECKING:
    from knarr.engine.container import Container


_Member = tuple[tarfile.TarInfo, bytes]


class FileEntry(NamedTuple):
    """One name in a directory: its kind (``file``, ``dir``, ``link``, ``other``) and bytes."""

    name: str
    kind: str
    size: int
    mode: int


class Files:
    """Files of a container; paths are absolute inside it.

    Everything goes through archives that are resolved inside the container's
    root, so no link in it leads to a file of the host.
    """

    def __init__(self, container: Container) -> None:
        self._container = container

    def read(self, path: str) -> bytes:
        """Return the bytes of a regular file. Raises NotFound, InvalidArgument for other kinds."""
        with self._archive(_absolute(path), follow=True) as archive:
            member = archive.next()
            source = archive.extractfile(member) if member and member.isreg() else None
            if source is None:
                raise InvalidArgument(f"{path} in the sandbox is not a regular file")
            return source.read()

    def write(
        self, path: str, data: bytes | str, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        """Write a file, replacing it; its directory must exist. Raises NotFound."""
        body = data.encode() if isinstance(data, str) else data
        directory, name = posixpath.split(_absolute(path))
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = len(body), mode, int(time.time())
        member.uid, member.gid = uid, gid
        self._put(directory, [(member, body)])

    def mkdir(self, path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """Make a directory and those above it that are missing."""
        members: builtins.list[_Member] = []
        parts = _absolute(path).strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            prefix = "/".join(parts[:depth])
            if depth < len(parts) and self.exists("/" + prefix):
                continue
            member = tarfile.TarInfo(prefix)
            member.type, member.mode, member.mtime = tarfile.DIRTYPE, mode, int(time.time())
            member.uid, member.gid = uid, gid
            members.append((member, b""))
        self._put("/", members)

    def exists(self, path: str) -> bool:
        """Return whether there is something at ``path``."""
        try:
            self._container.stat_path(_absolute(path))
        except NotFound:
            return False
        return True

    def list(self, path: str = "/") -> builtins.list[FileEntry]:
        """Return what is in a directory, sorted by name. Raises NotFound."""
        return [
            FileEntry(entry.name, _kind(entry.mode), entry.size, stat.S_IMODE(entry.mode))
            for entry in self._container.list_directory(_absolute(path))
        ]

    def get(self, path: str, destination: str) -> None:
        """Copy a file or a directory tree out, into the host directory ``destination``.

        Files, directories and links within the tree are made, owned by the
        caller; nothing is written outside ``destination``. Raises NotFound,
        InvalidArchive for names or links that lead out.
        """
        os.makedirs(destination, exist_ok=True)
        root = os.open(destination, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with _Stream(self._container.get_archive(_absolute(path))) as stream:
                reader = TarReader(cast("BinaryIO", stream))
                checked = _Stream(tarwriter.pack(_harmless(reader, path)))
                owner = (os.geteuid(), os.getegid())
                put_archive(root, "/", cast("BinaryIO", checked), owner=owner)
        finally:
            os.close(root)

    def put(self, source: str, path: str) -> None:
        """Copy a file or a directory tree of the host to ``path`` inside."""
        directory, name = posixpath.split(_absolute(path))
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            archive.add(source, arcname=name, filter=_as_root)
        buffer.seek(0)
        self._container.put_archive(directory, buffer)

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all in it. Raises NotFound."""
        self._container.remove_path(_absolute(path))

    def _archive(self, path: str, *, follow: bool = False) -> tarfile.TarFile:
        stream = _Stream(self._container.get_archive(path, follow=follow))
        return tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|")

    def _put(self, directory: str, members: Sequence[_Member]) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for member, body in members:
                archive.addfile(member, io.BytesIO(body))
        buffer.seek(0)
        self._container.put_archive(directory, buffer)


class _Stream(io.RawIOBase):
    """Pieces of an archive as a file that can be read forwards."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return exactly ``size`` bytes, fewer only at the end."""
        chunks = [self._rest]
        have = len(self._rest)
        while size < 0 or have < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            chunks.append(piece)
            have += len(piece)
        data = b"".join(chunks)
        if size < 0:
            self._rest = b""
            return data
        self._rest = data[size:]
        return data[:size]

    def close(self) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()
        super().close()


def _harmless(reader: TarReader, path: str) -> Iterator[tuple[Entry, Iterable[bytes]]]:
    """Yield the members of an archive, without setuid bits; raise InvalidArchive for the rest.

    Refused are devices and pipes, and links whose target is not in the archive's tree.
    """
    for entry in reader:
        target = entry.link
        if entry.kind == SYMLINK:
            target = posixpath.join(posixpath.dirname(entry.name.strip(b"/")), entry.link)
        if entry.kind not in (FILE, DIRECTORY, SYMLINK, HARDLINK):
            raise InvalidArchive(f"{path} in the sandbox: {entry.name!r} is a {entry.kind}")
        if target.startswith(b"/") or posixpath.normpath(target).split(b"/")[0] == b"..":
            raise InvalidArchive(f"{path} in the sandbox: {entry.name!r} links to {entry.link!r}")
        entry.mode &= 0o777
        yield entry, (bytes(data) for _, data in reader.segments())


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"path {path!r}: must be absolute inside the sandbox")
    return path


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "dir"
    return "link" if stat.S_ISLNK(mode) else "other"


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
