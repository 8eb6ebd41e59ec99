"""Memory mappings by address (mmap(2)); the interpreter's own module tells no addresses."""

import ctypes

from knarr.kernel.libc import LIBC, fail

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
