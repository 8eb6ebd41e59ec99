"""Paths inside a container's root, resolved by the kernel and never by string.

Every look-up starts at a descriptor of the root and uses openat2(2) with
RESOLVE_IN_ROOT, so that absolute and climbing symbolic links of a hostile image
end inside the root, and RESOLVE_NO_MAGICLINKS, so that none of them leads
through /proc/PID/fd or /proc/PID/exe.
"""

import os
import stat

from knarr.kernel.files import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS


def open_in_root(root_fd: int, path: str, flags: int = os.O_PATH, *, follow: bool = True) -> int:
    """Return a descriptor of ``path`` inside the root; raises OSError.

    follow=False refuses a symbolic link in any component (ELOOP).
    """
    return openat2(root_fd, path, flags, 0, _RESOLVE if follow else _RESOLVE | RESOLVE_NO_SYMLINKS)


def read_in_root(root_fd: int, path: str, limit: int) -> bytes:
    """Return at most ``limit`` bytes of a regular file inside the root; empty if there is none.

    It is looked at before it is opened: opening a device of the image would act on it.
    """
    try:
        fd = open_in_root(root_fd, path)
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        os.close(fd)
        if not regular:
            return b""
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return b""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        return _read(fd, limit)
    finally:
        os.close(fd)


def _read(fd: int, limit: int) -> bytes:
    data = b""
    while len(data) < limit and (part := os.read(fd, limit - len(data))):
        data += part
    return data


def ensure_directory(root_fd: int, path: str, *, follow: bool = True) -> int:
    """Return an O_PATH descriptor of a directory inside the root, made (0755) where missing."""
    try:
        fd = open_in_root(root_fd, path, os.O_PATH | os.O_DIRECTORY, follow=follow)
    except FileNotFoundError:
        return _make(root_fd, path, follow)
    return fd


def ensure_file(root_fd: int, path: str) -> int:
    """Return a descriptor of a file inside the root, made empty where missing."""
    try:
        return open_in_root(root_fd, path)
    except FileNotFoundError:
        parent, name = os.path.split(path.rstrip("/"))
    parent_fd = ensure_directory(root_fd, parent or "/")
    try:
        create = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, create, 0o644, dir_fd=parent_fd)
    except FileExistsError:
        # A dangling link or a racing creation: the look-up below decides.
        return open_in_root(root_fd, path)
    finally:
        os.close(parent_fd)


def _make(root_fd: int, path: str, follow: bool) -> int:
    """Make the missing components one by one, each on the descriptor of its parent."""
    done = ""
    fd = open_in_root(root_fd, "/", os.O_PATH | os.O_DIRECTORY)
    for part in path.split("/"):
        if part in ("", "."):
            continue
        done += "/" + part
        try:
            below = open_in_root(root_fd, done, os.O_PATH | os.O_DIRECTORY, follow=follow)
        except FileNotFoundError:
            try:
                os.mkdir(part, 0o755, dir_fd=fd)
            except FileExistsError as error:
                # A dangling link: following it would create what the image chose.
                os.close(fd)
                raise FileNotFoundError(
                    error.errno, f"{done} is a symbolic link to nowhere", done
                ) from error
            below = open_in_root(root_fd, done, os.O_PATH | os.O_DIRECTORY, follow=follow)
        os.close(fd)
        fd = below
    return fd
