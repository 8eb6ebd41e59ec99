"""Take a forked process's memory into its own hands before anybody waits for it.

After a fork parent and child share their pages until one of them writes. Each first
write costs a fault, a copy and, in a virtual machine, much more than that; a command
would do some hundreds of them, one by one. Asked for together they cost a fraction.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from knarr.kernel.libc import LIBC

if TYPE_CHECKING:
    from collections.abc import Callable

_POPULATE_READ = 22  # madvise(2), since Linux 5.14
_POPULATE_WRITE = 23
_LARGEST = 64 << 20  # bytes; what is larger is no heap of ours

_madvise = LIBC.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def own(awaited: Callable[[], bool]) -> None:
    """Copy all pages that can be written to, and map those of the programs that are read.

    awaited: whether to come to an end, since a command is there. Nothing happens where the
    kernel cannot do it.
    """
    with open("/proc/self/maps", "rb") as file:
        lines = file.readlines()
    for line in lines:
        words = line.split()
        private, named = words[1].endswith(b"p"), len(words) > 5 and words[5].startswith(b"/")
        writable = words[1].startswith(b"rw")
        if not private or not (writable or (named and words[1].startswith(b"r"))):
            continue
        begin, end = (int(word, 16) for word in words[0].split(b"-"))
        if end - begin <= _LARGEST and not awaited():
            _madvise(begin, end - begin, _POPULATE_WRITE if writable else _POPULATE_READ)
