"""Walking a whole directory tree by descriptor, however deep and hostile: no link is followed."""

import errno
import os

from knarr.kernel.files import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Directory:
    """One directory of a walk: its path below the root, a descriptor, its sorted names.

    The descriptor is closed when the walk goes on.
    """

    __slots__ = ("fd", "names", "path")

    def __init__(self, path: bytes, fd: int, names: "list[bytes]") -> None:
        self.path = path
        self.fd = fd
        self.names = names


def walk(
    root: int, enter: "Callable[[int], bool] | None" = None, *, one_mount: bool = False
) -> "Iterator[Directory]":
    """Yield root and every directory below it, parents before children, each level sorted.

    enter: called with the descriptor of each directory but root; False leaves
    it and all below it out. one_mount: leave out what is mounted below root.
    Directories that vanish meanwhile are left out, and so are those whose
    path is longer than the kernel takes (4095 bytes).
    """
    pending = [b""]
    resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | (RESOLVE_NO_XDEV if one_mount else 0)
    while pending:
        path = pending.pop()
        try:
            fd = openat2(root, path or b".", OPEN_DIRECTORY, resolve=resolve)
        except OSError as error:
            if not path or error.errno not in _GONE:
                raise
            continue
        try:
            if path and enter is not None and not enter(fd):
                continue
            names, directories = _list(fd)
            yield Directory(path, fd, names)
        finally:
            os.close(fd)
        pending += [path + b"/" + each if path else each for each in reversed(directories)]


_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EXDEV}


def _list(fd: int) -> "tuple[list[bytes], list[bytes]]":
    """Return (all names, those of directories) of a directory, both sorted."""
    names: list[bytes] = []
    directories: list[bytes] = []
    with os.scandir(fd) as found:
        for each in found:
            name = os.fsencode(each.name)
            names.append(name)
            if each.is_dir(follow_symlinks=False):
                directories.append(name)
    return sorted(names), sorted(directories)
