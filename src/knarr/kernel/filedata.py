"""The data of regular files: opened without waiting, and where they have holes (lseek(2))."""

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Stretches = list[tuple[int, int]]

_CHUNK = 1024 * 1024


def open_file(parent: int, name: bytes) -> int:
    """Return a descriptor to read a regular file; raises OSError, also when it is another kind.

    Without O_NONBLOCK a fifo put in the file's place would stop us for ever.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "no longer a regular file", os.fsdecode(name))
    return fd


def data_map(fd: int, size: int) -> "Stretches":
    """Return (offset, length) of the stretches of data in the first size bytes of a file."""
    found: Stretches = []
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break  # only a hole is left
            return [(0, size)]  # this file system does not tell
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if start >= size or end <= start:
            break
        found.append((start, end - start))
        position = end
    return found


def read_stretches(fd: int, stretches: "Stretches") -> "Iterator[tuple[int, memoryview]]":
    """Yield (offset, data) of the stretches; what a shrinking file lacks comes as zeros."""
    for offset, length in stretches:
        end = offset + length
        while offset < end:
            piece = os.pread(fd, min(_CHUNK, end - offset), offset)
            if not piece:
                piece = bytes(min(_CHUNK, end - offset))
            yield offset, memoryview(piece)
            offset += len(piece)
