"""Loading a seccomp filter (seccomp(2))."""

import ctypes
import struct

SECCOMP_SET_MODE_FILTER = 1
FLAG_TSYNC = 1
FLAG_LOG = 2
FLAG_SPEC_ALLOW = 4
FLAG_NEW_LISTENER = 8
FLAG_TSYNC_ESRCH = 16
FLAG_WAIT_KILLABLE_RECV = 32

FILTER_SIZE = 8  # struct sock_filter: u16 code, u8 jt, u8 jf, u32 k


class FilterProgram:
    """A filter in memory, so that loading it is one system call."""

    __slots__ = ("_buffer", "_fprog")

    def __init__(self, program: bytes) -> None:
        if not program or len(program) % FILTER_SIZE:
            raise ValueError("seccomp: program is not an array of struct sock_filter")
        self._buffer = ctypes.create_string_buffer(program, len(program))
        self._fprog = struct.pack(
            "@HP", len(program) // FILTER_SIZE, ctypes.addressof(self._buffer)
        )

    @property
    def region(self) -> "tuple[int, int]":
        """Address and size of the filter itself."""
        return ctypes.addressof(self._buffer), len(self._buffer)

    @property
    def argument(self) -> bytes:
        """The ``struct sock_fprog``, valid as long as this object exists."""
        return self._fprog
