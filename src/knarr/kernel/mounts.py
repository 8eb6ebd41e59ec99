"""Mounts: the old interface (mount(2)) and the one by descriptors (fsopen(2), open_tree(2) …)."""

import ctypes
import os
import struct

from knarr.kernel.libc import call, syscall

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_SILENT = 32768
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

MNT_FORCE = 1
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_NO_AUTOMOUNT = 0x800
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC

MOVE_MOUNT_F_SYMLINKS = 0x01
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_SYMLINKS = 0x10
MOVE_MOUNT_T_EMPTY_PATH = 0x40

FSOPEN_CLOEXEC = 1
FSPICK_CLOEXEC = 1
FSPICK_EMPTY_PATH = 8
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6
FSCONFIG_CMD_RECONFIGURE = 7

MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000


def _raw(text: "str | bytes | None") -> "bytes | None":
    return None if text is None else os.fsencode(text)


def mount(
    source: "str | bytes | None",
    target: "str | bytes",
    fstype: "str | None" = None,
    flags: int = 0,
    data: "str | bytes | None" = None,
) -> None:
    """Mount, bind, move or change a mount (mount(2))."""
    call("mount", _raw(source), _raw(target), _raw(fstype), ctypes.c_ulong(flags), _raw(data),
         path=target)  # fmt: skip


def umount2(target: "str | bytes", flags: int = 0) -> None:
    """Unmount ``target`` (umount2(2))."""
    call("umount2", _raw(target), flags, path=target)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make ``new_root`` the root mount of this namespace (pivot_root(2))."""
    syscall("pivot_root", _raw(new_root), _raw(put_old), path=new_root)


def open_tree(dirfd: int, path: "str | bytes", flags: int) -> int:
    """Return a CLOEXEC descriptor of a mount, or of a detached clone of it (open_tree(2))."""
    return syscall(
        "open_tree", dirfd, _raw(path), ctypes.c_uint(flags | OPEN_TREE_CLOEXEC), path=path
    )


def move_mount(
    from_fd: int, from_path: "str | bytes", to_fd: int, to_path: "str | bytes", flags: int
) -> None:
    """Attach a detached mount, or move one (move_mount(2))."""
    syscall("move_mount", from_fd, _raw(from_path), to_fd, _raw(to_path), ctypes.c_uint(flags),
            path=to_path or None)  # fmt: skip


def attach(mount_fd: int, target_fd: int) -> None:
    """Attach the detached mount ``mount_fd`` on what ``target_fd`` refers to, by no path."""
    move_mount(mount_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def fsopen(fstype: str) -> int:
    """Return a CLOEXEC file-system context for ``fstype`` (fsopen(2))."""
    return syscall("fsopen", _raw(fstype), ctypes.c_uint(FSOPEN_CLOEXEC), path=fstype)


def fsconfig_string(fd: int, key: str, value: "str | bytes") -> None:
    """Set a parameter of a file-system context, of at most 256 bytes (fsconfig(2))."""
    syscall("fsconfig", fd, ctypes.c_uint(FSCONFIG_SET_STRING), _raw(key), _raw(value), 0, path=key)


def fsconfig_flag(fd: int, key: str) -> None:
    """Set a parameter that has no value (fsconfig(2))."""
    syscall("fsconfig", fd, ctypes.c_uint(FSCONFIG_SET_FLAG), _raw(key), None, 0, path=key)


def fsconfig_create(fd: int) -> None:
    """Create the superblock that the context describes (fsconfig(2), FSCONFIG_CMD_CREATE)."""
    syscall("fsconfig", fd, ctypes.c_uint(FSCONFIG_CMD_CREATE), None, None, 0)


def fsmount(fd: int, attributes: int = 0) -> int:
    """Return a detached mount of a created context, with MOUNT_ATTR_* (fsmount(2))."""
    return syscall("fsmount", fd, ctypes.c_uint(FSMOUNT_CLOEXEC), ctypes.c_uint(attributes))


def mount_setattr(
    fd: int,
    path: "str | bytes" = "",
    flags: int = AT_EMPTY_PATH,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: "int | None" = None,
) -> None:
    """Change the attributes or the id map of a mount (mount_setattr(2), Linux 5.12)."""
    attributes = struct.pack("=QQQQ", attr_set, attr_clr, propagation, userns_fd or 0)
    syscall("mount_setattr", fd, _raw(path), ctypes.c_uint(flags), attributes,
            ctypes.c_size_t(len(attributes)), path=path or None)  # fmt: skip
