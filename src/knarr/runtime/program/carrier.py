"""Carrying a program out: in this process, or in a new one that shares this one's memory.

The new process never runs Python. It has no page tables to copy, touches almost
no page, and carries out its program while this process goes on.
"""

import ctypes
import os
import struct

from knarr.kernel import clone
from knarr.kernel.lean import signal
from knarr.kernel.libc import MACHINE
from knarr.kernel.memory import map_executable
from knarr.runtime.program import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.runtime.program.builder import Program

_SPAWN = 16  # offset of the second function; see x86_64.S
# Tests set it to have everything carried out by the interpreter, as where no code is.
INTERPRETER_VARIABLE = "KNARR_TEST_INTERPRETER"


def _blob() -> "bytes | None":
    """Return the machine code for this machine; None where it was not written or is not wanted."""
    if os.environ.get(INTERPRETER_VARIABLE):
        return None
    if MACHINE == "x86_64":
        from knarr.runtime.program import blob_x86_64

        return blob_x86_64.BLOB
    if MACHINE == "aarch64":
        from knarr.runtime.program import blob_aarch64

        return blob_aarch64.BLOB
    return None


def _load() -> "tuple[Callable[..., int], Callable[..., int]] | None":
    """Return the two functions of the machine code; None where it cannot be executed."""
    blob = _blob()
    if blob is None:
        return None
    try:
        place = map_executable("knarr-program", blob)
    except OSError:
        # A security module that lets no memory be executed: the interpreter does the same.
        return None
    word, pointer = ctypes.c_long, ctypes.c_void_p
    run = ctypes.PYFUNCTYPE(word, pointer, pointer)(place)
    spawn = ctypes.PYFUNCTYPE(word, pointer, ctypes.c_size_t, pointer, pointer)(place + _SPAWN)
    return run, spawn


_native = _load()
# What a clone in a program needs so that both sides see the same memory.
SHARED = clone.CLONE_VM if _native is not None else 0
_pidfd = struct.Struct("=i")


def prepare(*, apart: bool = False) -> None:
    """Make the memory ready for a spawn, before any cell is set. apart: see ``spawn``."""
    if apart or _native is None:
        memory.share()


def run(program: "Program") -> int:
    """Carry ``program`` out in this process; returns 0, or a negated error number."""
    memory.FAULT_ERROR.set(0)
    if _native is None:
        from knarr.runtime.program import interpreter

        return interpreter.run(program.address(), memory.FAULT_AT)
    return _native[0](program.address(), memory.FAULT_AT)


def spawn(
    program: "Program", flags: int, cgroup_fd: "int | None" = None, *, apart: bool = False
) -> "tuple[int, int]":
    """Return (pid, pidfd) of a new process that carries ``program`` out and ends.

    It shares memory and the table of descriptors with this one until it unshares
    the latter or executes something. flags: CLONE_NEW* and CLONE_PARENT.
    cgroup_fd: a v2 group in which it starts. program: to be kept until the process
    has ended or executed something. apart: of the memory it shares only what is in ``memory``,
    for what the kernel gives nobody who shares more. Raises OSError (clone3(2)).
    """
    if _native is None:
        memory.FAULT_ERROR.set(0)
        return _fork(program, flags | clone.CLONE_FILES, cgroup_fd)
    stack = (memory.STACK, memory.STACK_SIZE)
    return spawn_at(program.address(), flags, stack, cgroup_fd, apart=apart)


def spawn_at(
    start: int,
    flags: int,
    stack: "tuple[int, int]",
    cgroup_fd: "int | None" = None,
    *,
    apart: bool = False,
) -> "tuple[int, int]":
    """Return the same for a program that stands somewhere, and a stack: address and size.

    Only where ``SHARED`` is not 0.
    """
    assert _native is not None
    memory.FAULT_ERROR.set(0)
    flags |= clone.CLONE_FILES | clone.CLONE_PIDFD | clone.CLONE_CLEAR_SIGHAND
    flags |= 0 if apart else clone.CLONE_VM
    arguments = clone.arguments(flags, memory.SPAWNED, cgroup_fd, stack)
    pid = _native[1](memory.address_of(arguments), len(arguments), start, memory.FAULT_AT)
    if pid < 0:
        raise OSError(-pid, f"clone3: {os.strerror(-pid)}")
    (pidfd,) = _pidfd.unpack(memory.read(memory.SPAWNED, 4))
    return pid, pidfd


def _fork(program: "Program", flags: int, cgroup_fd: "int | None") -> "tuple[int, int]":
    from knarr.runtime.program import interpreter

    # As the machine code does: the child keeps them blocked.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid, pidfd = clone.clone3(flags, cgroup_fd)
        if pid == 0:
            interpreter.be(program.address(), memory.FAULT_AT)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid, pidfd
