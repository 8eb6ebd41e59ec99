"""inotify(7): be told when a file grows or a directory gets an entry."""

import os
import struct

from knarr.kernel.libc import call

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x01000000

_EVENT = struct.Struct("=iIII")


def init() -> int:
    """Return a new CLOEXEC, non-blocking inotify descriptor (inotify_init1(2))."""
    return call("inotify_init1", os.O_CLOEXEC | os.O_NONBLOCK)


def add_watch(fd: int, path: "str | bytes", mask: int) -> int:
    """Watch ``path``; return the watch's number (inotify_add_watch(2))."""
    return call("inotify_add_watch", fd, os.fsencode(path), mask, path=path)


def drain(fd: int) -> int:
    """Read away all events that wait; return how many there were."""
    count = 0
    while True:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return count
        offset = 0
        while offset < len(data):
            length = _EVENT.unpack_from(data, offset)[3]
            offset += _EVENT.size + length
            count += 1


def events(fd: int) -> "list[tuple[int, int, str]]":
    """Return watch, mask and file name of all events that wait (inotify(7))."""
    found: list[tuple[int, int, str]] = []
    while True:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return found
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = data[offset : offset + length].rstrip(b"\0")
            offset += length
            found.append((watch, mask, os.fsdecode(name)))
