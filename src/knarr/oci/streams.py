"""The descriptors that a program gets of its caller, and those that it must not get."""

import fcntl
import os
import resource
import stat

from knarr.errors import InvalidArgument
from knarr.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STANDARD = 3
_spared: "list[int]" = []


def listeners() -> int:
    """Return how many descriptors came along by sd_listen_fds(3)."""
    count = os.environ.get("LISTEN_FDS", "")
    return int(count) if count.isdecimal() and len(count) <= 4 else 0


def add_listeners(config: "dict[str, Any]", preserved: int) -> int:
    """Return how many descriptors the program keeps with those of sd_listen_fds(3).

    The variables that say so are added to its environment: it is the first process.
    """
    count = listeners()
    if not count:
        return preserved
    env = config.get("process", {}).setdefault("env", [])
    env += [f"LISTEN_FDS={count}", "LISTEN_PID=1"]
    return preserved + count


def spare(fd: int) -> int:
    """Have a descriptor of this process's own stay open when it closes the others.

    Returns its new number, behind the place that is kept free.
    """
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _STANDARD + 1)
    os.close(fd)
    _spared.append(moved)
    return moved


def arrange_descriptors(preserved: int) -> None:
    """Close what came along unasked, and keep a place free. Raises InvalidArgument.

    Behind those that the program keeps, its process puts one of its own, so nothing else must
    be there.
    """
    first = _STANDARD + preserved
    if first >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 64:
        raise InvalidArgument(f"--preserve-fds {preserved}: the limit of open files is lower")
    for fd in range(_STANDARD, first):
        try:
            fcntl.fcntl(fd, fcntl.F_GETFD)
        except OSError:
            raise InvalidArgument(f"--preserve-fds: descriptor {fd} is not open") from None
    begin = first
    for fd in sorted(_spared):
        if fd > begin:
            files.close_range(begin, fd - 1)
        begin = fd + 1
    files.close_range(begin)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    if null != first:
        os.dup2(null, first, inheritable=False)
        os.close(null)


def give_streams(uid: int, gid: int) -> None:
    """Let the program's user open its standard descriptors again; what cannot be given stays."""
    for fd in range(_STANDARD):
        info = os.fstat(fd)
        if stat.S_ISCHR(info.st_mode):
            continue  # a device of the host, or the terminal that somebody sits at
        if info.st_uid != uid and uid >= 0:
            try:
                os.fchown(fd, uid, gid)
            except OSError:
                continue  # a file system without owners, or a read-only one
