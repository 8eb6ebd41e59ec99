"""Files into and out of a mounted container tree as tar streams: ``cp`` and ``export``.

The tree may belong to a running, hostile container. Its root comes as a
descriptor; every path is looked up by openat2 with RESOLVE_IN_ROOT (absolute
symlinks and ``..`` end at that root, whoever swaps what meanwhile) and
RESOLVE_NO_MAGICLINKS (/proc/PID/root inside leads nowhere), so this process
never has to chroot. The last name of a path is never followed when something
is made or replaced, and nothing existing is opened for writing.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from knarr.errors import Conflict, InvalidArchive, InvalidArgument, NotFound
from knarr.kernel.files import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, fstatfs_type, openat2
from knarr.runtime.removal import remove_tree
from knarr.runtime.trees import OPEN_DIRECTORY
from knarr.snapshots import diff, nodes, tarentry
from knarr.snapshots.apply import clean_parts, translated
from knarr.snapshots.idmap import IdMap, acting_as_root_of
from knarr.snapshots.tarstream import TarReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from knarr.snapshots.diff import EntryFilter
    from knarr.snapshots.tarentry import Entry, Limits
    from knarr.snapshots.tarstream import Source

_IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_PARENT = os.O_PATH | os.O_DIRECTORY
_IMPLICIT_MODE = 0o755
# Kernel views rather than files (statfs(2)): proc, sysfs, cgroup, cgroup2,
# devpts, mqueue, debugfs, tracefs, bpf, securityfs.
_VIEWS = {
    0x9FA0,
    0x62656572,
    0x27E0EB,
    0x63677270,
    0x1CD1,
    0x19800202,
    0x64626720,
    0x74726163,
    0xCAFE4A11,
    0x73636673,
}


class PathStat(NamedTuple):
    """What is at a path: base name, bytes, st_mode, time in ns since 1970, symlink's target."""

    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str


def stat_path(root: int, path: str | bytes, *, follow: bool = False) -> PathStat:
    """Return what is at path in the tree; a symlink there is followed only when asked for.

    Raises NotFound.
    """
    fd, name = _open_path(root, path, follow)
    try:
        status = os.fstat(fd)
        target = os.readlink(b"", dir_fd=fd) if stat.S_ISLNK(status.st_mode) else b""
        return PathStat(
            os.fsdecode(name), status.st_size, status.st_mode, status.st_mtime_ns,
            os.fsdecode(target),
        )  # fmt: skip
    finally:
        os.close(fd)


def get_archive(
    root: int,
    path: str | bytes,
    *,
    follow: bool = False,
    idmap: IdMap | None = None,
    name: str | None = None,
) -> Iterator[bytes]:
    """Return the file or directory at path as a tar, in pieces; deterministic.

    Members are named after the last component of path, as Docker does it; for
    ``DIR/.`` they are named ``./...``, for ``/`` they are relative to it. name: what the
    topmost one is called instead.
    follow: a symlink at path is followed (a trailing slash does so too).
    idmap: ids on a mounted idmapped tree are translated to the container's.
    Directories of proc, sysfs and the like come empty; sockets are left out.
    Raises NotFound at once; root may be closed afterwards.
    """
    fd, last = _open_path(root, path, follow)
    top = last if name is None else os.fsencode(name)
    return _pack(_Owned(fd), top, _to_container(idmap))


def export_tree(root: int, *, idmap: IdMap | None = None) -> Iterator[bytes]:
    """Return the whole tree as a tar, in pieces; what is mounted inside it comes empty.

    root (O_PATH will do) must stay open until the iterator ends.
    """
    return diff.pack_tree(root, one_mount=True, adjust=_to_container(idmap))


def put_archive(
    root: int,
    path: str | bytes,
    archive: Source,
    *,
    owner: tuple[int, int] | None = None,
    idmap: IdMap | None = None,
    keep_kinds: bool = False,
    limits: Limits | None = None,
) -> None:
    """Unpack a tar into the directory at path; what is there is replaced, later entries win.

    owner: (uid, gid) of the container for everything, else the archive's own.
    idmap: how the container's ids appear in the tree. keep_kinds: refuse to put a
    directory in place of something else or the other way round (Docker's
    ``noOverwriteDirNonDir``). Raises NotFound, InvalidArgument when path is no
    directory, InvalidArchive for what is wrong with the archive, Conflict
    for keep_kinds, OSError from the file system (EROFS, ENOSPC). Entries
    before the one that failed stay.
    """
    name = os.fsencode(path)
    try:
        fd = openat2(root, name or b"/", _PARENT, resolve=_IN_ROOT)
    except OSError as error:
        raise _no_path(error, name) from None
    os.close(fd)
    with acting_as_root_of(idmap):
        unpacker = _Unpacker(root, name, TarReader(archive, limits), owner, idmap, keep_kinds)
        try:
            unpacker.run()
        finally:
            unpacker.close()


def _open_path(root: int, path: str | bytes, follow: bool) -> tuple[int, bytes]:
    """Return (O_PATH descriptor, name of the last component); raises NotFound."""
    raw = os.fsencode(path)
    flags = os.O_PATH if follow or raw.endswith(b"/") else os.O_PATH | os.O_NOFOLLOW
    try:
        fd = openat2(root, raw or b"/", flags, resolve=_IN_ROOT)
    except OSError as error:
        raise _no_path(error, raw) from None
    stripped = raw.rstrip(b"/")
    return fd, stripped.rpartition(b"/")[2] or b"/"


def _no_path(error: OSError, path: bytes) -> Exception:
    shown = os.fsdecode(path)
    if error.errno == errno.ENOENT:
        return NotFound(f"{shown}: no such file or directory in the container")
    if error.errno in {errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EXDEV}:
        return InvalidArgument(f"{shown}: {error.strerror}")
    return error


class _Owned:
    """A descriptor that closes with its last user, so also with a generator never started."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


def _pack(owned: _Owned, name: bytes, adjust: EntryFilter | None) -> Iterator[bytes]:
    """Yield what is behind an O_PATH descriptor."""
    if not stat.S_ISDIR(os.fstat(owned.fd).st_mode):
        yield from diff.pack_node(owned.fd, name, adjust)
        return
    tree = os.open(b".", OPEN_DIRECTORY, dir_fd=owned.fd)
    try:
        prefix = b"" if name in {b"/", b".."} else name
        yield from diff.pack_tree(tree, prefix=prefix, enter=_is_files, adjust=adjust)
    finally:
        os.close(tree)


def _is_files(fd: int) -> bool:
    return fstatfs_type(fd) & 0xFFFFFFFF not in _VIEWS


def _to_container(idmap: IdMap | None) -> Callable[[Entry], None] | None:
    if idmap is None:
        return None

    def adjust(entry: Entry) -> None:
        entry.uid, entry.gid = idmap.to_container(entry.uid, entry.gid)

    return adjust


class _Unpacker:
    """One ``put_archive``."""

    def __init__(
        self,
        root: int,
        destination: bytes,
        reader: TarReader,
        owner: tuple[int, int] | None,
        idmap: IdMap | None,
        keep_kinds: bool,
    ) -> None:
        self._root = root
        self._destination = b"/" + destination.strip(b"/")
        self._reader = reader
        self._owner = owner
        self._idmap = idmap
        self._keep_kinds = keep_kinds
        self._last: tuple[bytes, int] | None = None
        # Directories made here: their times are set in the end, if they are still the same.
        self._times: dict[bytes, tuple[tuple[int, int], int]] = {}

    def run(self) -> None:
        """Unpack every entry, then set the directories' times."""
        for entry in self._reader:
            parts = clean_parts(entry.name)
            if not parts:
                continue
            self._give_ids(entry)
            try:
                self._entry(parts, entry)
            except OSError as error:
                raise translated(error, entry.name) from None
        self._reader.drain()
        for path, (identity, mtime_ns) in self._times.items():
            self._set_time(path, identity, mtime_ns)

    def close(self) -> None:
        """Close the cached descriptor."""
        if self._last is not None:
            os.close(self._last[1])
            self._last = None

    def _give_ids(self, entry: Entry) -> None:
        if self._owner is not None:
            entry.uid, entry.gid = self._owner
        if self._idmap is not None:
            entry.uid, entry.gid = self._idmap.to_host(entry.uid, entry.gid)

    def _entry(self, parts: list[bytes], entry: Entry) -> None:
        base = parts[-1]
        parent = self._parent(parts[:-1])
        if entry.kind == tarentry.DIRECTORY:
            self._directory(parent, base, b"/".join(parts), entry)
            return
        if entry.kind == tarentry.CHARACTER and not entry.major and not entry.minor:
            raise InvalidArchive(f"archive: {entry.name[:200]!r} is device 0:0")
        if entry.kind == tarentry.HARDLINK:
            self._hardlink(parent, base, entry)
            return
        data = self._reader.segments()
        self._replacing(parent, base, entry, lambda: nodes.make(parent, base, entry, data))

    def _replacing(
        self, parent: int, base: bytes, entry: Entry, create: Callable[[], None]
    ) -> None:
        try:
            create()
            return
        except FileExistsError:
            status = os.stat(base, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode) and self._keep_kinds:
            raise Conflict(f"{os.fsdecode(entry.name)}: cannot overwrite a directory with a file")
        remove_tree(parent, base)
        create()

    def _directory(self, parent: int, base: bytes, path: bytes, entry: Entry) -> None:
        try:
            os.mkdir(base, 0o700, dir_fd=parent)
        except FileExistsError:
            status = os.stat(base, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                if self._keep_kinds:
                    raise Conflict(
                        f"{os.fsdecode(entry.name)}: cannot overwrite a file with a directory"
                    ) from None
                os.unlink(base, dir_fd=parent)
                os.mkdir(base, 0o700, dir_fd=parent)
        fd = os.open(base, OPEN_DIRECTORY, dir_fd=parent)
        try:
            nodes.set_attributes(fd, entry)
            status = os.fstat(fd)
        finally:
            os.close(fd)
        self._times[path] = ((status.st_dev, status.st_ino), entry.mtime_ns)

    def _hardlink(self, parent: int, base: bytes, entry: Entry) -> None:
        parts = clean_parts(entry.link)
        if not parts:
            raise InvalidArchive(f"archive: {entry.name[:200]!r} is a hard link to a directory")
        source = self._open_parent(self._full(parts[:-1]))
        try:
            target = os.stat(parts[-1], dir_fd=source, follow_symlinks=False)
            if stat.S_ISDIR(target.st_mode):
                raise InvalidArchive(f"archive: {entry.name[:200]!r} is a hard link to a directory")
            if _is_same(target, parent, base):
                return
            self._replacing(
                parent,
                base,
                entry,
                lambda: os.link(
                    parts[-1], base, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False
                ),
            )
        finally:
            os.close(source)

    def _full(self, parts: list[bytes]) -> bytes:
        return b"/".join([self._destination.rstrip(b"/"), *parts]) or b"/"

    def _open_parent(self, path: bytes) -> int:
        return openat2(self._root, path, _PARENT, resolve=_IN_ROOT)

    def _parent(self, parts: list[bytes]) -> int:
        """Return the descriptor of an entry's directory, making what is missing of its path."""
        path = self._full(parts)
        if self._last is not None and self._last[0] == path:
            return self._last[1]
        self.close()
        try:
            fd = self._open_parent(path)
        except FileNotFoundError:
            fd = self._make_parents(parts)
        self._last = (path, fd)
        return fd

    def _make_parents(self, parts: list[bytes]) -> int:
        fd = self._open_parent(self._full([]))
        for depth, part in enumerate(parts, 1):
            try:
                below = self._open_parent(self._full(parts[:depth]))
            except FileNotFoundError:
                implied = tarentry.Entry(part, tarentry.DIRECTORY, mode=_IMPLICIT_MODE)
                self._give_ids(implied)
                try:
                    os.mkdir(part, _IMPLICIT_MODE, dir_fd=fd)
                    below = os.open(part, OPEN_DIRECTORY, dir_fd=fd)
                    os.fchown(below, implied.uid, implied.gid)
                except OSError:
                    os.close(fd)
                    raise
            os.close(fd)
            fd = below
        return fd

    def _set_time(self, path: bytes, identity: tuple[int, int], mtime_ns: int) -> None:
        try:
            fd = openat2(self._root, self._full([path]), OPEN_DIRECTORY, resolve=_IN_ROOT)
        except OSError:
            return  # replaced by a later entry, or by the container
        try:
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) == identity:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(fd)


def _is_same(status: os.stat_result, parent: int, name: bytes) -> bool:
    try:
        return os.path.samestat(status, os.stat(name, dir_fd=parent, follow_symlinks=False))
    except FileNotFoundError:
        return False
