"""Descriptors and path look-up: openat2(2), close_range(2), fstatfs(2), renameat2(2)."""

import ctypes
import errno
import os
import struct

from knarr.kernel.libc import LIBC, call, fail, syscall

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

AT_EACCESS = 0x200

CLOSE_RANGE_UNSHARE = 2
CLOSE_RANGE_CLOEXEC = 4

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

PROC_SUPER_MAGIC = 0x9FA0
DEVPTS_SUPER_MAGIC = 0x1CD1
TMPFS_MAGIC = 0x01021994
CGROUP_SUPER_MAGIC = 0x27E0EB
CGROUP2_SUPER_MAGIC = 0x63677270

_EAGAIN_TRIES = 64
_MAX_FD = 0x7FFFFFFF


def openat2(dirfd: int, path: "str | bytes", flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Return a CLOEXEC descriptor for ``path`` below ``dirfd`` (openat2(2)).

    EAGAIN, which the kernel gives when a rename races a scoped look-up, is
    tried again a bounded number of times, as the manual page asks.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    raw = os.fsencode(path)
    for _ in range(_EAGAIN_TRIES):
        try:
            return syscall("openat2", dirfd, raw, how, ctypes.c_size_t(len(how)), path=path)
        except BlockingIOError:
            continue
        except InterruptedError:
            continue
    raise fail("openat2", path)


def close_range(first: int, last: int = 0xFFFFFFFF, flags: int = 0) -> None:
    """Close, or mark close-on-exec, the descriptors first to last (close_range(2), 5.9).

    Where the kernel cannot mark them (before 5.11) it is done one by one, for which /proc has to
    be this process's.
    """
    try:
        syscall("close_range", ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(flags))
    except OSError as error:
        if error.errno != errno.EINVAL or flags != CLOSE_RANGE_CLOEXEC or first > last:
            raise
        _mark_one_by_one(first, last)


def _mark_one_by_one(first: int, last: int) -> None:
    for name in os.listdir("/proc/self/fd"):
        if first <= int(name) <= last:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                continue  # that of the list itself


def keep_only(*keep: int) -> None:
    """Close every descriptor from 3 on but these; -1 is none."""
    first = 3
    for fd in sorted(fd for fd in keep if fd >= first):
        if fd > first:
            os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, _MAX_FD)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it; a disk that fills up takes a part first, and is an error then (write(2))."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def fstatfs_type(fd: int) -> int:
    """Return the magic number of the file system behind ``fd`` (fstatfs(2), f_type)."""
    buffer = ctypes.create_string_buffer(256)
    call("fstatfs", fd, buffer)
    size = ctypes.sizeof(ctypes.c_long)
    return int.from_bytes(buffer.raw[:size], "little")


def renameat2(
    old_dir: int, old: "str | bytes", new_dir: int, new: "str | bytes", flags: int = 0
) -> None:
    """Rename with RENAME_NOREPLACE or RENAME_EXCHANGE (renameat2(2))."""
    call("renameat2", old_dir, os.fsencode(old), new_dir, os.fsencode(new), ctypes.c_uint(flags),
         path=new)  # fmt: skip


def syncfs(fd: int) -> None:
    """Write the file system behind ``fd`` to its disk (syncfs(2))."""
    call("syncfs", fd)


LIBC.fstatfs.argtypes = (ctypes.c_int, ctypes.c_char_p)
