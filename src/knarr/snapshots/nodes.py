"""One inode at a time: making it from an ``Entry``, and describing it as one.

Everything goes by a directory descriptor and a single name that is never
followed, so it does not matter what symlinks the tree around it holds, nor
who changes them meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from knarr.errors import InvalidArchive
from knarr.kernel.files import RESOLVE_NO_XDEV, openat2
from knarr.snapshots import tarentry as kinds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from knarr.snapshots.tarentry import Entry
    from knarr.snapshots.tarheader import Sparse

# Holes smaller than this are not worth a sparse entry in an archive.
_MIN_HOLES = 64 * 1024
_KEPT_XATTRS = frozenset(
    {b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"}
)
_FLAGS = {
    stat.S_IFREG: kinds.FILE,
    stat.S_IFDIR: kinds.DIRECTORY,
    stat.S_IFLNK: kinds.SYMLINK,
    stat.S_IFCHR: kinds.CHARACTER,
    stat.S_IFBLK: kinds.BLOCK_DEVICE,
    stat.S_IFIFO: kinds.FIFO,
}


def keeps_xattr(name: bytes) -> bool:
    """Return whether an extended attribute travels between archives and disk.

    user.*, file capabilities and POSIX ACLs do. trusted.* and user.overlay.*
    steer overlayfs, and the other security.* are the host's own labels: an
    archive must not set them, and they mean nothing on another host.
    """
    if name.startswith(b"user."):
        return not name.startswith(b"user.overlay.")
    return name in _KEPT_XATTRS


def make(parent: int, name: bytes, entry: Entry, data: Iterable[tuple[int, memoryview]]) -> None:
    """Create the inode of an entry (no directory, no hard link) with all its attributes.

    data: (offset, bytes) stretches of a file. Raises FileExistsError when the
    name is taken, InvalidArchive for attributes that cannot be, OSError else.
    """
    if entry.kind == kinds.FILE:
        _make_file(parent, name, entry, data)
        return
    if entry.kind == kinds.SYMLINK:
        os.symlink(entry.link, name, dir_fd=parent)
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        _set_xattrs(b"/proc/self/fd/%d/%s" % (parent, name), entry)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)
        return
    device = 0
    if entry.kind == kinds.FIFO:
        kind = stat.S_IFIFO
    else:
        kind = stat.S_IFCHR if entry.kind == kinds.CHARACTER else stat.S_IFBLK
        device = os.makedev(entry.major, entry.minor)
    os.mknod(name, kind | 0o600, device, dir_fd=parent)
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        path = b"/proc/self/fd/%d" % fd
        os.chown(path, entry.uid, entry.gid)
        os.chmod(path, entry.mode)
        _set_xattrs(b"/proc/self/fd/%d/%s" % (parent, name), entry)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
    finally:
        os.close(fd)


def _make_file(
    parent: int, name: bytes, entry: Entry, data: Iterable[tuple[int, memoryview]]
) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=parent)
    try:
        end = 0
        for offset, piece in data:
            done = os.pwrite(fd, piece, offset)
            end = offset + len(piece)
            while offset + done < end:
                done += os.pwrite(fd, piece[done:], offset + done)
        if end != entry.size:
            os.ftruncate(fd, entry.size)
        set_attributes(fd, entry)
    finally:
        os.close(fd)


def set_attributes(fd: int, entry: Entry) -> None:
    """Give an open file or directory the entry's owner, mode, attributes and time.

    The order matters: chown clears setuid and capabilities (chown(2)), and
    the time comes last since everything else changes the inode.
    """
    os.fchown(fd, entry.uid, entry.gid)
    os.fchmod(fd, entry.mode)
    if entry.xattrs:
        _set_xattrs(fd, entry)
    os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))


def _set_xattrs(target: bytes | int, entry: Entry) -> None:
    for name, value in entry.xattrs.items():
        if not keeps_xattr(name):
            continue
        try:
            if isinstance(target, int):
                os.setxattr(target, name, value)
            else:
                os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            # This file system has no such attributes, or this kind of inode has
            # none (xattr(7): user.* only on files and directories).
            if error.errno in {errno.EOPNOTSUPP, errno.EPERM}:
                continue
            if error.errno in {errno.EINVAL, errno.E2BIG, errno.ERANGE} or _too_big(error, value):
                raise InvalidArchive(
                    f"archive entry {entry.name[:200]!r}: extended attribute {name[:80]!r}"
                    f" cannot be set: {error.strerror}"
                ) from None
            raise


def _too_big(error: OSError, value: bytes) -> bool:
    """Return whether ENOSPC means that the attribute fits into no inode of this file system."""
    return error.errno == errno.ENOSPC and len(value) > 2048


def describe(parent: int, name: bytes, archive_name: bytes) -> Entry | None:
    """Return the inode as an entry called archive_name; None for sockets, which tar has not.

    Raises OSError, for example FileNotFoundError when the name has just gone.
    """
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    entry = _described(status, archive_name)
    if entry is not None:
        entry.xattrs = read_xattrs(b"/proc/self/fd/%d/%s" % (parent, name))
        if entry.kind == kinds.SYMLINK:
            entry.link = os.readlink(name, dir_fd=parent)
    return entry


def describe_open(fd: int, archive_name: bytes) -> Entry | None:
    """Return the inode behind a descriptor (O_PATH will do) as ``describe`` does."""
    entry = _described(os.fstat(fd), archive_name)
    if entry is not None:
        entry.xattrs = read_xattrs(b"/proc/self/fd/%d" % fd, follow=True)
        if entry.kind == kinds.SYMLINK:
            entry.link = os.readlink(b"", dir_fd=fd)
    return entry


def _described(status: os.stat_result, archive_name: bytes) -> Entry | None:
    kind = _FLAGS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None
    entry = kinds.Entry(
        archive_name,
        kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
    )
    if kind == kinds.FILE:
        entry.size = status.st_size
    elif kind in {kinds.CHARACTER, kinds.BLOCK_DEVICE}:
        entry.major = os.major(status.st_rdev)
        entry.minor = os.minor(status.st_rdev)
    return entry


def read_xattrs(path: bytes, *, follow: bool = False) -> dict[bytes, bytes]:
    """Return the attributes of an inode that travel (see ``keeps_xattr``), sorted by name."""
    try:
        names = sorted(map(os.fsencode, os.listxattr(path, follow_symlinks=follow)))
    except OSError:
        return {}  # this file system has none
    found: dict[bytes, bytes] = {}
    for name in names:
        if keeps_xattr(name):
            try:
                found[name] = os.getxattr(path, name, follow_symlinks=follow)
            except OSError:
                continue  # removed between the two calls
    return found


def is_mount(parent: int, name: bytes) -> bool:
    """Return whether something else is mounted on that file."""
    flags = os.O_PATH | os.O_NOFOLLOW
    try:
        os.close(openat2(parent, name, flags, resolve=RESOLVE_NO_XDEV))
    except OSError as error:
        return error.errno == errno.EXDEV
    return False


def worth_sparse(stretches: Sparse, size: int) -> bool:
    """Return whether the holes are big enough to write the file as a sparse one."""
    return size - sum(length for _, length in stretches) >= _MIN_HOLES
