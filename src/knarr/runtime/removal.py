"""Whole directory trees are removed by descriptor, however deep and hostile.

No symlink is followed and no more than a few descriptors are open, so a
container that nests ten thousand directories, or swaps one for a symlink
while we look, gets nothing out of it.
"""

import errno
import fcntl
import os
import stat
import struct

from knarr.runtime.trees import OPEN_DIRECTORY

# ioctl_iflags(2): _IOR/_IOW('f', 1|2, long), the same on all 64-bit machines.
_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_IMMUTABLE_OR_APPEND = 0x10 | 0x20


class _Level:
    """A directory on the way down: its identity, its name in the one above, what is left."""

    __slots__ = ("directories", "identity", "name")

    def __init__(self, fd: int, name: bytes) -> None:
        self.identity = _identity(fd)
        self.name = name
        self.directories = _remove_files(fd)


def remove_tree(parent: int, name: bytes) -> None:
    """Remove a file or a whole directory in parent; one that does not exist is fine.

    Two processes may remove the same tree at once: what is gone is gone, and
    whoever loses the directory it works in leaves the rest to the other.
    Raises OSError, for example EBUSY for a mount point in the tree.
    """
    if _unlink(parent, name):
        return
    try:
        _remove_directory(parent, name)
    except FileNotFoundError:
        return


def remove_path(path: str) -> None:
    """Remove what has a path of ours, as ``remove_tree``; a parent that is gone is fine too."""
    folder, name = os.path.split(path)
    try:
        parent = os.open(folder, OPEN_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        remove_tree(parent, os.fsencode(name))
    finally:
        os.close(parent)


def _remove_directory(parent: int, name: bytes) -> None:
    fd = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    levels = [_Level(fd, name)]
    try:
        while True:
            if levels[-1].directories:
                child = levels[-1].directories.pop()
                try:
                    below = os.open(child, OPEN_DIRECTORY, dir_fd=fd)
                except FileNotFoundError:
                    continue
                os.close(fd)
                fd = below
                levels.append(_Level(fd, child))
                continue
            done = levels.pop()
            if not levels:
                break
            above = os.open(b"..", OPEN_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = above
            if _identity(fd) != levels[-1].identity:
                raise OSError(errno.EBUSY, "moved while it was being removed", os.fsdecode(name))
            _rmdir(fd, done.name)
    finally:
        os.close(fd)
    _rmdir(parent, name)


def _identity(fd: int) -> "tuple[int, int]":
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _remove_files(fd: int) -> "list[bytes]":
    """Unlink all but directories in a directory and return the names of these."""
    directories: list[bytes] = []
    with os.scandir(fd) as found:
        for each in found:
            name = os.fsencode(each.name)
            if each.is_dir(follow_symlinks=False) or not _unlink(fd, name):
                directories.append(name)
    return directories


def _unlink(parent: int, name: bytes) -> bool:
    """Unlink name and return True; False when it is a directory."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return True
    except IsADirectoryError:
        return False
    except PermissionError:
        _make_removable(parent, name)
        os.unlink(name, dir_fd=parent)
    return True


def _rmdir(parent: int, name: bytes) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except PermissionError:
        _make_removable(parent, name)
        os.rmdir(name, dir_fd=parent)


def _make_removable(parent: int, name: bytes) -> None:
    """Clear the immutable and append-only flags (chattr +i, +a) that block a removal."""
    _clear_flags(parent, b".")
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        _clear_flags(parent, name)


def _clear_flags(parent: int, name: bytes) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8)))
        if flags & _IMMUTABLE_OR_APPEND:
            fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("l", flags & ~_IMMUTABLE_OR_APPEND))
    except OSError as error:
        if error.errno not in {errno.ENOTTY, errno.EOPNOTSUPP}:
            raise  # a file system without such flags refused for another reason
    finally:
        os.close(fd)
