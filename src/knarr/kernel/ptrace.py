"""Holding a process at its next execve(2), by ptrace(2), and letting it go again.

Who traces has to do all of it in one thread. When it dies the kernel lets the process go.
"""

import ctypes
import os

from knarr.kernel.libc import LIBC, fail

_ptrace = LIBC.ptrace
_ptrace.restype = ctypes.c_long
_CONT, _DETACH, _SEIZE, _LISTEN = 7, 17, 0x4206, 0x4208
_O_TRACEEXEC, _EVENT_EXEC, _EVENT_STOP = 0x10, 4, 128
_WALL = 0x40000000


def seize(pid: int) -> None:
    """Have a process stop right behind its next execve; it goes on until then. Raises OSError."""
    _call(_SEIZE, pid, _O_TRACEEXEC)


def await_exec(pid: int) -> bool:
    """Wait for a seized process to stop behind its execve; False when it has ended.

    A signal that it gets meanwhile acts on it as ever. Raises OSError.
    """
    while True:
        _, status = os.waitpid(pid, _WALL)
        if not os.WIFSTOPPED(status):
            return False
        event = status >> 16
        if event == _EVENT_EXEC:
            return True
        if event == _EVENT_STOP:
            _call(_LISTEN, pid, 0)
        else:
            _call(_CONT, pid, os.WSTOPSIG(status))


def has_signal(pid: int) -> bool:
    """Return whether a seized process stands still for a signal that it is about to get.

    Nothing is taken of one that has ended: that is its parent's to wait for.
    """
    flags = os.WSTOPPED | os.WNOHANG | os.WNOWAIT | _WALL
    try:
        found = os.waitid(os.P_PID, pid, flags)
    except ChildProcessError:
        return False
    return found is not None and not found.si_status >> 8


def detach(pid: int) -> None:
    """Let a process go on that stands still; one that has ended is its parent's to wait for."""
    try:
        _call(_DETACH, pid, 0)
    except ProcessLookupError:
        try:
            os.waitpid(pid, _WALL | os.WNOHANG)
        except ChildProcessError:
            return  # it is not traced any more


def _call(request: int, pid: int, data: int) -> None:
    ctypes.set_errno(0)
    result = _ptrace(ctypes.c_long(request), ctypes.c_long(pid), None, ctypes.c_void_p(data))
    if result == -1:
        raise fail("ptrace")
