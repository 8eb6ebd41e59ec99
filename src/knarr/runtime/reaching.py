"""What is missing of a mount's place, made where symbolic links to nowhere lead, in the root.

Images have such links: /etc/resolv.conf of a system with systemd leads to a file below /run that
somebody else makes. The process that mounts has no way to read a link, so its maker makes what
is missing (``program.exchange.ask``), one component at a time, each on the descriptor of the one
before, and the process opens the place by the kernel's own look-up.
"""

import errno
import os
import stat

from knarr.kernel.files import (
    PROC_SUPER_MAGIC,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    fstatfs_type,
    openat2,
)

_LINKS = 40  # as many as the kernel follows (path_resolution(7))
_MISSING = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS


def make_missing(root: int, path: str, *, directory: bool) -> None:
    """Make the file or directory that a path below ``root`` leads to, and those on the way.

    Raises OSError. What is there is left as it is; ``..`` of a link leads back where it came
    from, and from the root nowhere else. Modes are 0755, and 0644 of a file.
    """
    before = os.umask(0)
    way: list[int] = []
    try:
        _walk(root, way, path.split("/"), directory=directory)
    finally:
        os.umask(before)
        for fd in way:
            os.close(fd)


def _walk(root: int, way: "list[int]", parts: "list[str]", *, directory: bool) -> None:
    """Go on from the last of ``way``, or the root, which is none of them."""
    links = 0
    left = _reversed(parts)
    while left:
        part = left.pop()
        if part == "..":
            if way:
                os.close(way.pop())
            continue
        here = way[-1] if way else root
        found = _open(here, part, directory=directory or bool(left))
        way.append(found)
        if not stat.S_ISLNK(os.fstat(found).st_mode):
            continue
        links += 1
        if links > _LINKS or fstatfs_type(found) == PROC_SUPER_MAGIC:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), part)
        target = os.readlink("", dir_fd=found)
        os.close(way.pop())
        if target.startswith("/"):
            while way:
                os.close(way.pop())
        left += _reversed(target.split("/"))


def _reversed(parts: "list[str]") -> "list[str]":
    return [part for part in reversed(parts) if part not in ("", ".")]


def _open(here: int, name: str, *, directory: bool) -> int:
    """Return what has this name, made where there is nothing; of a link the link itself."""
    flags = os.O_PATH | os.O_NOFOLLOW
    try:
        return openat2(here, name, flags, resolve=_RESOLVE)
    except FileNotFoundError:
        pass
    if directory:
        os.mkdir(name, 0o755, dir_fd=here)
    else:
        os.close(os.open(name, _MISSING, 0o644, dir_fd=here))
    return openat2(here, name, flags, resolve=_RESOLVE)
