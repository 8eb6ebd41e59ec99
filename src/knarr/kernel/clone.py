"""clone3(2) for a single-threaded interpreter.

The child is a copy of the Python process, as after fork(2). A process with
threads must not call this: another thread may hold a lock that the child then
waits for without end.
"""

import ctypes
import os
import struct

from knarr.kernel.lean import signal
from knarr.kernel.libc import NUMBERS, PYLIBC, fail

CLONE_VM = 0x00000100
CLONE_FILES = 0x00000400
CLONE_PIDFD = 0x00001000
CLONE_VFORK = 0x00004000
CLONE_PARENT = 0x00008000
CLONE_PARENT_SETTID = 0x00100000
CLONE_CLEAR_SIGHAND = 0x100000000
CLONE_INTO_CGROUP = 0x200000000

_arguments = struct.Struct("=11Q")
ARGUMENTS_SIZE = _arguments.size
_syscall = PYLIBC.syscall
_syscall.restype = ctypes.c_long
_before = ctypes.pythonapi.PyOS_BeforeFork
_in_parent = ctypes.pythonapi.PyOS_AfterFork_Parent
_in_child = ctypes.pythonapi.PyOS_AfterFork_Child
for _hook in (_before, _in_parent, _in_child):
    _hook.restype = None


def arguments(
    flags: int,
    pidfd: int,
    cgroup_fd: "int | None" = None,
    stack: "tuple[int, int]" = (0, 0),
    tid: int = 0,
) -> bytes:
    """Return a ``struct clone_args`` (clone3(2)).

    pidfd: address for the descriptor of the child, which CLONE_PIDFD in ``flags`` asks for.
    cgroup_fd: directory of a cgroup v2 group in which the child starts (5.7).
    stack: address and size. tid: address for its pid, which CLONE_PARENT_SETTID asks for.
    The parent hears of the child's end by SIGCHLD; a sibling's parent as of the caller's.
    """
    if cgroup_fd is not None:
        flags |= CLONE_INTO_CGROUP
    end = 0 if flags & CLONE_PARENT else signal.SIGCHLD
    return _arguments.pack(flags, pidfd, 0, tid, end, *stack, 0, 0, 0, cgroup_fd or 0)


def clone3(flags: int, cgroup_fd: "int | None" = None) -> "tuple[int, int]":
    """Return (pid, pidfd) in the parent and (0, -1) in the child (clone3(2), Linux 5.5).

    cgroup_fd: directory of a cgroup v2 group in which the child starts (5.7).
    """
    pidfd = ctypes.c_int(-1)
    address = ctypes.addressof(pidfd)
    packed = arguments(flags | CLONE_PIDFD, address, cgroup_fd)
    _before()
    pid: int = _syscall(ctypes.c_long(NUMBERS["clone3"]), packed, ctypes.c_size_t(len(packed)))
    if pid == 0:
        _in_child()
        return 0, -1
    error = fail("clone3") if pid < 0 else None
    _in_parent()
    if error is not None:
        raise error
    os.set_inheritable(pidfd.value, False)
    return pid, pidfd.value
