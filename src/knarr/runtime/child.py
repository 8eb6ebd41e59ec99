"""The first process of a container, from clone to execve, as a program.

This is the only place where a plan's steps become operations. The process that
carries them out runs no Python: whatever fails ends it, and the number of the
operation says to its parent what it was.
"""

import os
import signal
import struct

from knarr.kernel import process as k
from knarr.kernel.mounts import AT_FDCWD
from knarr.runtime import finalleg
from knarr.runtime.finalleg import Ending, FinalLeg
from knarr.runtime.program import memory
from knarr.runtime.program.builder import Block, Builder, Label, Program
from knarr.runtime.program.memory import BYTE, CHANNEL, POLL, TARGET, TEMPORARY
from knarr.runtime.program.paths import DIRECTORY
from knarr.runtime.steps.base import Setting, Step

CLONE_FILES = 0x00000400
READY = b"r"
GO = b"g"
_RESULT = TEMPORARY[0]
_POLLIN = 1
_EVENTS = 4  # struct pollfd: events, and revents in the upper half


def first(
    unshare_flags: int,
    steps: "tuple[Step, ...]",
    setting: Setting,
    leg: FinalLeg,
    ending: Ending,
    entrances: "tuple[str, ...]",
    target: str,
) -> Program:
    """Return the program of a container's first process. Raises OSError and RuntimeFailure.

    entrances: files of control groups into which it writes itself; target: the
    directory of the host on which the root file system is attached.
    """
    program = Program()
    b = Builder()
    be_born(b)
    for path in entrances:
        b.call("openat", AT_FDCWD, path, os.O_WRONLY | os.O_CLOEXEC, out=_RESULT, path=path)
        # 0 is the writer itself, whatever its pid is in which namespace.
        b.call("write", _RESULT, b"0", 1, path=path)
        b.call("close", _RESULT)
    wait(b, 1)
    b.call("umask", 0)
    # Opened as the host's root still: the directory may be closed to everybody else.
    b.call("openat", AT_FDCWD, target, DIRECTORY | os.O_CLOEXEC, out=TARGET, path=target)
    if setting.in_userns:
        become_root(b)
    if unshare_flags:
        b.call("unshare", unshare_flags)
    program.add("prepare", b.finish())
    add_steps(program, steps, setting)
    program.add("ready", gate())
    for block in finalleg.emit(leg, ending):
        program.add("start", block)
    return program


def be_born(b: Builder) -> None:
    """Nobody may look into this process, and it dies with its parent."""
    b.call("prctl", k.PR_SET_DUMPABLE, 0, 0, 0, 0)
    b.call("prctl", k.PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def become_root(b: Builder) -> None:
    """Become root of the user namespace; the change of ids resets what ``be_born`` asked for."""
    b.call("setresgid", 0, 0, 0)
    b.call("setresuid", 0, 0, 0)
    be_born(b)


def add_steps(program: Program, steps: "tuple[Step, ...]", setting: Setting) -> None:
    """Add a block for each step."""
    for step in steps:
        program.add(step.describe(), _block(step, setting))


def _block(step: Step, setting: Setting) -> Block:
    b = Builder()
    step.emit(b, setting)
    return b.finish()


def gate() -> Block:
    """Say that everything is ready, and wait to be let go on; a parent that is gone is the end.

    From here on this process has a table of descriptors of its own.
    """
    b = Builder()
    b.call("unshare", CLONE_FILES)
    b.call("write", CHANNEL, READY, 1)
    wait(b, 0)
    return b.finish()


def wait(b: Builder, status: int) -> None:
    """Wait for a byte from the parent; end with ``status`` when that is gone.

    The other end of the channel may be open in this very process, so that the
    parent's end has to be looked for itself.
    """
    go, gone = Label(), Label()
    b.call("ppoll", POLL, 2, None, None, 0, orelse=gone)
    b.test(POLL + _EVENTS, _POLLIN << 16, _POLLIN << 16, orelse=gone)
    b.call("read", CHANNEL, BYTE, 1, orelse=gone)
    b.jump(go)
    b.place(gone)
    b.call("exit_group", status)
    b.place(go)


def prepare_memory(channel: int, scratch: int) -> None:
    """Set what a process finds: its end of the channel, a number to move things to, its parent."""
    parent = os.pidfd_open(os.getpid())
    memory.write(POLL, struct.pack("=ihhihh", channel, _POLLIN, 0, parent, _POLLIN, 0))
    memory.CHANNEL.set(channel)
    memory.SCRATCH.set(scratch)
    memory.write(memory.SCRATCH_PATH, f"/proc/self/fd/{scratch}\0".encode())
    for cell in (memory.PROC, memory.MASTER, memory.SLAVE):
        cell.set(-1)
    for cell in (memory.PASSWD_SIZE, memory.GROUP_SIZE, memory.CWD_RESULT):
        cell.set(0)
