"""Capabilities: the structures of capset(2), the options of prctl(2), those of this process."""

import ctypes
import struct

from knarr.kernel.libc import syscall

PR_CAPBSET_DROP = 24
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4
LAST = 63  # the highest number that the sets have room for
EVERY = (1 << LAST + 1) - 1
HEADER = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process


def capget() -> "tuple[int, int, int]":
    """Return the effective, permitted and inheritable sets as bit masks (capget(2))."""
    data = ctypes.create_string_buffer(24)
    syscall("capget", HEADER, data)
    e0, p0, i0, e1, p1, i1 = struct.unpack("=6I", data.raw)
    return e0 | e1 << 32, p0 | p1 << 32, i0 | i1 << 32


def permitted(*, in_userns: bool) -> int:
    """Return what a new process may pass on: all in a user namespace, else what this one has."""
    return EVERY if in_userns else capget()[1]


def pack(effective: int, permitted: int, inheritable: int) -> bytes:
    """Return the data of capset(2) for three masks; the kernel ignores what it does not know."""
    sets = (effective, permitted, inheritable)
    return struct.pack("=6I", *(mask & 0xFFFFFFFF for mask in sets), *(mask >> 32 for mask in sets))
