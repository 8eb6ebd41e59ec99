"""From trees back to archives: a container's changes as a layer, or a whole tree flattened.

Both are deterministic: members sorted, parents first, no times but the
files' own, so the same tree always gives the same bytes and the same digest.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from knarr.kernel import filedata
from knarr.runtime.trees import OPEN_DIRECTORY, walk
from knarr.snapshots import nodes, tarentry, tarwriter, whiteouts
from knarr.snapshots.driver import Change, DiskUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from knarr.runtime.trees import Directory
    from knarr.snapshots.lowers import Lowers
    from knarr.snapshots.tarentry import Entry

    EntryFilter = Callable[[Entry], None]
    """Changes an entry (owner, say) before it is written."""

_NOT_A_FILE_NOW = {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENODEV}


class _Packer:
    """Turns inodes into archive members and remembers hard links."""

    def __init__(self, adjust: EntryFilter | None = None, *, one_mount: bool = False) -> None:
        self._seen: dict[tuple[int, int], bytes] = {}
        self._adjust = adjust
        self._one_mount = one_mount

    def member(self, parent: int, name: bytes, archive_name: bytes) -> Iterator[bytes]:
        """Yield header and data of one inode; nothing for sockets and what has gone."""
        try:
            entry = nodes.describe(parent, name, archive_name)
        except FileNotFoundError:
            return
        if entry is None:
            return
        if self._adjust is not None:
            self._adjust(entry)
        if entry.kind == tarentry.DIRECTORY:
            yield tarwriter.entry_header(entry)
            return
        if self._one_mount and entry.kind == tarentry.FILE and nodes.is_mount(parent, name):
            # Mounted over, perhaps with a secret: only the mount point is this tree's.
            yield tarwriter.entry_header(tarentry.Entry(archive_name, tarentry.FILE))
            return
        first = self._first_link(parent, name, archive_name)
        if first is not None:
            entry.kind = tarentry.HARDLINK
            entry.link = first
            entry.xattrs = {}
            entry.size = 0
            yield tarwriter.entry_header(entry)
        elif entry.kind == tarentry.FILE:
            try:
                fd = filedata.open_file(parent, name)
            except OSError as error:
                if error.errno in _NOT_A_FILE_NOW:
                    return
                raise
            try:
                yield from _file(fd, entry)
            finally:
                os.close(fd)
        else:
            yield tarwriter.entry_header(entry)

    def _first_link(self, parent: int, name: bytes, archive_name: bytes) -> bytes | None:
        """Return the name under which the inode was written before, None if it was not."""
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if status.st_nlink < 2:
            return None
        first = self._seen.setdefault((status.st_dev, status.st_ino), archive_name)
        return first if first != archive_name else None


def _file(fd: int, entry: Entry) -> Iterator[bytes]:
    """Yield an open regular file, as long as it is now."""
    entry.size = os.fstat(fd).st_size
    stretches = filedata.data_map(fd, entry.size)
    if nodes.worth_sparse(stretches, entry.size):
        entry.sparse = stretches
    else:
        stretches = [(0, entry.size)] if entry.size else []
    yield tarwriter.entry_header(entry)
    for _, piece in filedata.read_stretches(fd, stretches):
        yield bytes(piece)
    fill = tarwriter.padding(tarwriter.stored_size(entry))
    if fill:
        yield fill


def pack_tree(
    root: int,
    *,
    prefix: bytes = b"",
    enter: Callable[[int], bool] | None = None,
    one_mount: bool = False,
    adjust: EntryFilter | None = None,
) -> Iterator[bytes]:
    """Yield the tree below the directory descriptor root as a tar, without translating anything.

    prefix: what the members' names begin with; with b"" the root itself is
    called ``./``. enter: see ``walk``; a directory not entered is archived empty.
    one_mount: what is mounted below root comes as empty directories and files.
    adjust: called with each entry. The descriptor must stay open until the end.
    """
    packer = _Packer(adjust, one_mount=one_mount)
    for directory in walk(root, enter, one_mount=one_mount):
        if not directory.path:
            yield from packer.member(directory.fd, b".", prefix or b"./")
        for name in directory.names:
            yield from packer.member(directory.fd, name, _join(prefix, directory.path, name))
    yield tarwriter.END


def pack_node(fd: int, archive_name: bytes, adjust: EntryFilter | None = None) -> Iterator[bytes]:
    """Yield the inode behind an O_PATH descriptor (no directory) as a tar; empty for a socket."""
    entry = nodes.describe_open(fd, archive_name)
    if entry is not None:
        if adjust is not None:
            adjust(entry)
        if entry.kind == tarentry.FILE:
            # Opened again through /proc: the very inode, whatever its name is by now.
            again = os.open(b"/proc/self/fd/%d" % fd, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                yield from _file(again, entry)
            finally:
                os.close(again)
        else:
            yield tarwriter.entry_header(entry)
    yield tarwriter.END


def pack_changes(upper: int, apart: Collection[str] = ()) -> Iterator[bytes]:
    """Yield a writable overlayfs directory as an OCI layer (layer.md, "Whiteouts").

    upper: its descriptor. Whiteout devices become ``.wh.NAME``, opaque
    directories get ``.wh..wh..opq``. apart: see ``driver.Driver.diff``.
    """
    places = {os.fsencode(path.strip("/")) for path in apart}
    packer = _Packer()
    for directory in walk(upper):
        if not directory.path:
            yield from packer.member(directory.fd, b".", b"./")
        if whiteouts.is_opaque(directory.fd):
            yield _marker(_join(b"", directory.path, whiteouts.OPAQUE_MARKER))
        for name in directory.names:
            path = _join(b"", directory.path, name)
            if _is_whiteout(directory, name):
                yield _marker(_join(b"", directory.path, whiteouts.PREFIX + name))
            elif path not in places or not _is_empty(directory, name):
                yield from packer.member(directory.fd, name, path)
    yield tarwriter.END


def changes(upper: int, lowers: Lowers, apart: Collection[str] = ()) -> Iterator[Change]:
    """Yield how a writable overlayfs directory differs from the layers below, by path.

    apart: see ``driver.Driver.diff``.
    """
    found: list[Change] = []
    touched: set[bytes] = set()
    places = {os.fsencode(path.strip("/")) for path in apart}
    for directory in walk(upper):
        for name in directory.names:
            path = _join(b"", directory.path, name)
            if path in places and _is_empty(directory, name):
                continue
            kind = _kind_of_change(directory, name, path, lowers)
            if kind:
                found.append(Change(kind, "/" + os.fsdecode(path)))
                touched.update(_parents(path))
        if directory.path and whiteouts.is_opaque(directory.fd):
            for name in lowers.names(directory.path) - set(directory.names):
                path = _join(b"", directory.path, name)
                found.append(Change("D", "/" + os.fsdecode(path)))
                touched.update(_parents(path))
    known = {change.path for change in found}
    for path in touched:
        shown = "/" + os.fsdecode(path)
        if shown not in known:
            found.append(Change("C", shown))
    yield from sorted(found, key=lambda change: change.path)


def usage(root: int) -> DiskUsage:
    """Return bytes in files (hard links once) and inodes of a tree."""
    size = inodes = 0
    linked: set[tuple[int, int]] = set()
    for directory in walk(root):
        inodes += not directory.path
        for name in directory.names:
            try:
                status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                if (status.st_dev, status.st_ino) in linked:
                    continue
                linked.add((status.st_dev, status.st_ino))
            inodes += 1
            if stat.S_ISREG(status.st_mode):
                size += status.st_size
    return DiskUsage(size, inodes)


def _kind_of_change(directory: Directory, name: bytes, path: bytes, lowers: Lowers) -> str:
    """Return A, C, D or "" (the same as below, only copied up)."""
    try:
        status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    except FileNotFoundError:
        return ""
    if whiteouts.is_whiteout(status):
        return "D" if lowers.find(path) else ""
    below = lowers.find(path)
    if below is None:
        return "A"
    if not _same(status, below.status):
        return "C"
    if not stat.S_ISREG(status.st_mode):
        return ""
    # setcap(8) changes nothing but an extended attribute.
    here = nodes.read_xattrs(b"/proc/self/fd/%d/%s" % (directory.fd, name))
    there = nodes.read_xattrs(b"/proc/self/fd/%d/%s" % (below.base, below.place))
    return "" if here == there else "C"


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether two inodes look the same; directories do not count their times."""
    if (one.st_mode, one.st_uid, one.st_gid) != (other.st_mode, other.st_uid, other.st_gid):
        return False
    if stat.S_ISDIR(one.st_mode):
        return True
    return (one.st_size, one.st_mtime_ns, one.st_rdev) == (
        other.st_size,
        other.st_mtime_ns,
        other.st_rdev,
    )


def _is_whiteout(directory: Directory, name: bytes) -> bool:
    try:
        status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return whiteouts.is_whiteout(status)


def _is_empty(directory: Directory, name: bytes) -> bool:
    """Return whether a name is a file or directory with nothing in it, as mounts need them."""
    try:
        status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(status.st_mode):
        inside = os.open(name, OPEN_DIRECTORY, dir_fd=directory.fd)
        try:
            return not os.listdir(inside)
        finally:
            os.close(inside)
    return stat.S_ISREG(status.st_mode) and not status.st_size


def _marker(name: bytes) -> bytes:
    return tarwriter.entry_header(tarentry.Entry(name, tarentry.FILE, mode=0))


def _parents(path: bytes) -> Iterator[bytes]:
    while path := path.rpartition(b"/")[0]:
        yield path


def _join(*parts: bytes) -> bytes:
    return b"/".join(part.rstrip(b"/") for part in parts if part)
