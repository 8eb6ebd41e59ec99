"""fanotify(7): be asked before the contents of a file are read.

A group of the class FAN_CLASS_PRE_CONTENT (Linux 6.14) gets an event for each access to a
marked file, and whoever reads waits for the answer. Events that nobody has answered when the
last descriptor of their group is closed are allowed.
"""

import ctypes
import os
import struct

from knarr.kernel.libc import LIBC, call

ADD, REMOVE = 1, 2
ALLOW, DENY = 1, 2
PRE_ACCESS = 0x00100000

_CLASS_PRE_CONTENT = 0x8
_CLOEXEC, _NONBLOCK, _UNLIMITED_QUEUE, _UNLIMITED_MARKS = 0x1, 0x2, 0x10, 0x20
_ERRNO_SHIFT = 24
_RANGE = 6  # FAN_EVENT_INFO_TYPE_RANGE
_METADATA = struct.Struct("=IBBHQii")
_INFO = struct.Struct("=BBH")
_PLACE = struct.Struct("=4xQQ")
_RESPONSE = struct.Struct("=iI")
# What the descriptors of events are opened with: nothing is read or written through them.
_OPEN = os.O_RDONLY | os.O_CLOEXEC


class Access:
    """Somebody is about to read or write ``count`` bytes at ``offset`` of the file behind ``fd``.

    fd: ours, to be closed after the answer. pid: who it is. count is 0 where the kernel
    does not say.
    """

    __slots__ = ("count", "fd", "offset", "pid")

    def __init__(self, fd: int, pid: int, offset: int, count: int) -> None:
        self.fd = fd
        self.pid = pid
        self.offset = offset
        self.count = count


def init() -> int:
    """Return a new, non-blocking group of the class for contents that are still to come.

    Raises OSError: EINVAL where the kernel has no such class, EPERM without CAP_SYS_ADMIN.
    """
    flags = _CLASS_PRE_CONTENT | _CLOEXEC | _NONBLOCK | _UNLIMITED_QUEUE | _UNLIMITED_MARKS
    return call("fanotify_init", ctypes.c_uint(flags), ctypes.c_uint(_OPEN))


def mark(group: int, how: int, fd: int) -> None:
    """Have a group asked about the file behind a descriptor, or no more; how: ADD or REMOVE.

    What is opened while its file has no mark is never asked about. Raises OSError, EOPNOTSUPP for
    a file system that cannot wait for contents.
    """
    result = LIBC.fanotify_mark(
        group, ctypes.c_uint(how), ctypes.c_uint64(PRE_ACCESS), fd, ctypes.c_char_p(None)
    )
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"fanotify_mark: {os.strerror(code)}")


def read(group: int, most: int = 16) -> "list[Access]":
    """Return up to ``most`` events that wait; [] for none. Raises OSError."""
    try:
        data = os.read(group, most * 48)
    except BlockingIOError:
        return []
    found: list[Access] = []
    start = 0
    while start < len(data):
        length, _, _, size, _, fd, pid = _METADATA.unpack_from(data, start)
        offset = count = 0
        place = start + size
        while place < start + length:
            kind, _, extent = _INFO.unpack_from(data, place)
            if kind == _RANGE:
                offset, count = _PLACE.unpack_from(data, place + _INFO.size)
            place += extent
        found.append(Access(fd, pid, offset, count))
        start += length
    return found


def answer(group: int, access: Access, error: int = 0) -> None:
    """Let an access happen, or fail with an errno (EIO, EPERM, EBUSY, ENOSPC, …); close its fd.

    One whose process was killed meanwhile is no error.
    """
    response = DENY | error << _ERRNO_SHIFT if error else ALLOW
    try:
        os.write(group, _RESPONSE.pack(access.fd, response))
    except FileNotFoundError:
        return
    finally:
        os.close(access.fd)
