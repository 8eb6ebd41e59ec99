"""A clock's alarm as a descriptor that an event loop can wait for (timerfd_create(2))."""

import os
import struct

from knarr.kernel.libc import call

_CLOCK_MONOTONIC = 1
_SPEC = struct.Struct("=qqqq")  # struct itimerspec: interval and first alarm, in s and ns
_BILLION = 1_000_000_000


def create() -> int:
    """Return a CLOEXEC, non-blocking descriptor that is readable once its time has come."""
    return call("timerfd_create", _CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK)


def arm(fd: int, ns: int) -> None:
    """Have the alarm go off once, ``ns`` nanoseconds from now, in place of any set before."""
    seconds, rest = divmod(max(ns, 1), _BILLION)
    call("timerfd_settime", fd, 0, _SPEC.pack(0, 0, seconds, rest), None)


def disarm(fd: int) -> None:
    """Have no alarm go off."""
    call("timerfd_settime", fd, 0, _SPEC.pack(0, 0, 0, 0), None)


def clear(fd: int) -> None:
    """Take note of an alarm, so that the descriptor is not readable any more."""
    try:
        os.read(fd, 8)
    except BlockingIOError:
        return  # it was set anew meanwhile
