"""Memory mappings by address (mmap(2)); the interpreter's own module tells no addresses."""

import ctypes
import os

from knarr.kernel.libc import LIBC, fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    import array

PROT_READ = 1
PROT_WRITE = 2
PROT_EXEC = 4
MAP_SHARED = 0x01
MAP_PRIVATE = 0x02
MAP_FIXED = 0x10
MAP_ANONYMOUS = 0x20

_mmap = LIBC.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                  ctypes.c_long)  # fmt: skip
_FAILED = ctypes.c_void_p(-1).value


def map_memory(size: int, protection: int, flags: int, fd: int = -1, address: int = 0) -> int:
    """Return the address of a new mapping of ``size`` bytes (mmap(2))."""
    found: int = _mmap(address, size, protection, flags, fd, 0)
    if found == _FAILED:
        raise fail("mmap")
    return found


def unmap_memory(address: int, size: int) -> None:
    """Take a mapping away (munmap(2)). Raises OSError."""
    if LIBC.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size)):
        raise fail("munmap")


def map_executable(name: str, code: bytes) -> int:
    """Return the address of machine code that can be executed. Raises OSError where none may be.

    name: what /proc/self/maps shows.
    """
    file = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        os.write(file, code)
        return map_memory(len(code), PROT_READ | PROT_EXEC, MAP_PRIVATE, file)
    finally:
        os.close(file)


MADV_POPULATE_READ = 22
_MADV_POPULATE_WRITE = 23
_STACK = "[stack]"


def own_pages(without: "tuple[int, int]") -> None:
    """Get copies now of all pages that this process shares with the one it was forked from.

    Otherwise each comes with a fault of its own when it is written to. without:
    addresses from, to of what is better left alone.
    """
    for start, end, mode, name in own_mappings():
        if mode == "rw-p" and name != _STACK:
            _populate(start, min(end, without[0]), _MADV_POPULATE_WRITE)
            _populate(max(start, without[1]), end, _MADV_POPULATE_WRITE)


def code() -> "array.array[int]":
    """Return where programs and libraries are in this process, for ``map_code``.

    Beginning and end of each range by turns, as few as there are, and as bare numbers:
    objects would be written to when they are looked at.
    """
    import array  # not everybody needs what it loads

    found = array.array("Q")
    for start, end, mode, name in own_mappings():
        if mode not in ("r-xp", "r--p") or not name.startswith("/"):
            continue
        if found and found[-1] == start:
            found[-1] = end
        else:
            found.extend((start, end))
    return found


def map_code(ranges: "array.array[int]") -> None:
    """Enter the pages of programs and libraries into the page table, which a fork does not copy.

    They stay shared: this takes no memory.
    """
    for index in range(0, len(ranges), 2):
        _populate(ranges[index], ranges[index + 1], MADV_POPULATE_READ)


def own_mappings() -> "list[tuple[int, int, str, str]]":
    """Return start, end, mode and name of the mappings of this process (proc(5), maps)."""
    found = []
    with open("/proc/self/maps") as file:
        for line in file:
            fields = line.split(None, 5)
            start, end = fields[0].split("-")
            name = fields[5].rstrip("\n") if len(fields) > 5 else ""
            found.append((int(start, 16), int(end, 16), fields[1], name))
    return found


def _populate(start: int, end: int, how: int) -> None:
    """Fault pages in at once; nothing happens before Linux 5.14 (madvise(2))."""
    if start < end:
        LIBC.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), how)
