"""Capabilities of the calling process (capabilities(7), capset(2), prctl(2))."""

import ctypes
import struct

from knarr.kernel.libc import LIBC, call, syscall

_VERSION_3 = 0x20080522
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4


def capget() -> "tuple[int, int, int]":
    """Return the effective, permitted and inheritable sets as bit masks (capget(2))."""
    header = struct.pack("=Ii", _VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    syscall("capget", header, data)
    e0, p0, i0, e1, p1, i1 = struct.unpack("=6I", data.raw)
    return e0 | e1 << 32, p0 | p1 << 32, i0 | i1 << 32


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the three sets from bit masks (capset(2))."""
    low = 0xFFFFFFFF
    header = struct.pack("=Ii", _VERSION_3, 0)
    data = struct.pack(
        "=6I",
        effective & low,
        permitted & low,
        inheritable & low,
        effective >> 32,
        permitted >> 32,
        inheritable >> 32,
    )
    syscall("capset", header, data)


def _prctl(option: int, *words: int) -> int:
    padded = (*words, 0, 0, 0, 0)[:4]
    return call("prctl", option, *(ctypes.c_ulong(word) for word in padded))


def bounding_has(capability: int) -> bool:
    """Return whether the bounding set holds ``capability``; False for one the kernel lacks."""
    result: int = LIBC.prctl(_PR_CAPBSET_READ, ctypes.c_ulong(capability), 0, 0, 0)
    return result == 1


def bounding_drop(capability: int) -> None:
    """Remove ``capability`` from the bounding set for good (prctl(2), PR_CAPBSET_DROP)."""
    _prctl(_PR_CAPBSET_DROP, capability)


def ambient_clear() -> None:
    """Empty the ambient set (prctl(2), PR_CAP_AMBIENT_CLEAR_ALL)."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def ambient_raise(capability: int) -> None:
    """Add ``capability`` to the ambient set; it must be permitted and inheritable."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)
