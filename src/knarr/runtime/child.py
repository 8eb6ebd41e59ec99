"""The first process of a container, from clone to execve, as a program.

This is the only place where a plan's steps become operations. The process that
carries them out runs no Python: whatever fails ends it, and the number of the
operation says to its parent what it was.
"""

import fcntl
import os
import select
import struct

from knarr.kernel import process as k
from knarr.kernel.clone import CLONE_FILES
from knarr.kernel.lean import signal
from knarr.kernel.mounts import AT_FDCWD
from knarr.runtime import finalleg, packets
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.finalleg import Ending, FinalLeg
from knarr.runtime.program import kept, memory
from knarr.runtime.program.builder import Block, Builder, Program, text
from knarr.runtime.program.exchange import READY, wait
from knarr.runtime.program.memory import (
    CHANNEL,
    ENTRANCES,
    POLL,
    TARGET,
    TARGET_PATH,
    TEMPORARY,
    Cell,
    address_of,
)
from knarr.runtime.program.paths import DIRECTORY
from knarr.runtime.steps.base import Setting, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

_RESULT = TEMPORARY[0]
_HIGH = 16


def first(
    unshare_flags: int,
    steps: "tuple[Step, ...]",
    setting: Setting,
    leg: FinalLeg,
    ending: Ending,
    entrances: "tuple[str, ...]",
    before: "Block | None" = None,
    at_gate: "Callable[[Builder], None] | None" = None,
) -> Program:
    """Return the program of a container's first process. Raises RuntimeFailure.

    entrances: files of control groups into which it writes itself; their addresses
    are in ENTRANCES, as that of the directory for the root is in TARGET_PATH.
    before: what it has behind it when it comes here. at_gate: another gate than ``gate``.
    """
    program = Program()
    if before is not None:
        program.add("create", before)
    if entrances:
        program.add("cgroup", kept.block(("enter", len(entrances)), _enter_groups, entrances))
    key = ("prepare", setting.in_userns, unshare_flags)
    program.add("prepare", kept.block(key, _prepare, setting.in_userns, unshare_flags))
    add_steps(program, steps, setting)
    program.add("ready", kept.block(("gate", at_gate is None), at_gate or gate))
    finalleg.add(program, "start", leg, ending)
    return program


def set_paths(program: Program, target: str, entrances: "tuple[str, ...]") -> None:
    """Set the cells that the program of ``first`` takes paths from."""
    if len(entrances) > len(ENTRANCES):
        raise OverflowError(f"cgroup: more than {len(ENTRANCES)} hierarchies are not supported")
    for cell, path in zip((TARGET_PATH, *ENTRANCES), (target, *entrances), strict=False):
        data = text(path)
        program.keep(data)
        cell.set(address_of(data))


def _enter_groups(b: Builder, entrances: "tuple[str, ...]") -> None:
    for cell in ENTRANCES[: len(entrances)]:
        explain = _NotEntered(cell)
        b.call("openat", AT_FDCWD, cell, os.O_WRONLY | os.O_CLOEXEC, out=_RESULT, explain=explain)
        # 0 is the writer itself, whatever its pid is in which namespace.
        b.call("write", _RESULT, b"0", 1, explain=explain)
        b.call("close", _RESULT)


class _NotEntered:
    """Explains which control group could not be entered."""

    __slots__ = ("cell",)

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    def __call__(self, name: str, number: int) -> RuntimeFailure:
        path = memory.text_at(self.cell.get())
        return RuntimeFailure("error", name, f"{name}: {os.strerror(number)}: {path}", number)


def _prepare(b: Builder, in_userns: bool, unshare_flags: int) -> None:
    be_born(b)
    wait(b, 1)
    b.call("umask", 0)
    # Opened as the host's root still: the directory may be closed to everybody else.
    b.call("openat", AT_FDCWD, TARGET_PATH, DIRECTORY | os.O_CLOEXEC, out=TARGET)
    if in_userns:
        become_root(b)
    if unshare_flags:
        b.call("unshare", unshare_flags)


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
    """Add a block for each step. Raises RuntimeFailure for one that cannot be carried out."""
    for step in steps:
        key = step.key(setting)
        try:
            if key is None:
                block = kept.make(step.emit, setting)
            else:
                block = kept.block((type(step), *key), step.emit, setting)
        except OSError as error:
            name = step.describe()
            text = f"{name}: {error.strerror or error}"
            raise RuntimeFailure("error", name, text, error.errno or 0) from error
        program.add(step.describe, block)


def gate(b: Builder) -> None:
    """Say that everything is ready, and wait to be let go on; a parent that is gone is the end.

    From here on this process has a table of descriptors of its own.
    """
    b.call("unshare", CLONE_FILES)
    b.call("write", CHANNEL, READY, 1)
    wait(b, 0)


def stop(b: Builder) -> None:
    """Wait until the maker, whose table of descriptors this still is, has done its part."""
    b.call("write", CHANNEL, READY, 1)
    wait(b, 1)


def meet() -> "tuple[_socket.socket, list[int]]":
    """Set where a process finds its end of the channel, a number to move things to, its parent.

    Returns the other end, and the descriptors that are the process's: to be closed here
    once it has a table of its own.
    """
    ours, fds = meet_at(POLL, CHANNEL)
    scratch = high(fds[0])
    fds.append(scratch)
    memory.SCRATCH.set(scratch)
    memory.write(memory.SCRATCH_PATH, f"/proc/self/fd/{scratch}\0".encode())
    for cell in (memory.PROC, memory.MASTER, memory.SLAVE):
        cell.set(-1)
    for cell in (memory.PASSWD_SIZE, memory.GROUP_SIZE):
        cell.set(0)
    return ours, fds


def meet_there(
    ends: "tuple[_socket.socket, list[int]]", give: "Callable[[list[int]], list[int]]"
) -> None:
    """Have the cells that ``meet`` set say what the descriptors are called elsewhere.

    give: returns the numbers of copies there.
    """
    theirs, parent, scratch = give(ends[1])
    memory.write(POLL, struct.pack("=ihhihh", theirs, select.POLLIN, 0, parent, select.POLLIN, 0))
    CHANNEL.set(theirs)
    memory.SCRATCH.set(scratch)
    memory.write(memory.SCRATCH_PATH, f"/proc/self/fd/{scratch}\0".encode())


def meet_at(poll: int, channel: Cell) -> "tuple[_socket.socket, list[int]]":
    """Set where ``wait`` finds a channel and its parent; returns as ``meet``."""
    ours, end = packets.pair()
    theirs = high(end.fileno())
    end.close()
    parent = os.pidfd_open(os.getpid())
    memory.write(poll, struct.pack("=ihhihh", theirs, select.POLLIN, 0, parent, select.POLLIN, 0))
    channel.set(theirs)
    return ours, [theirs, parent]


def part(ends: "tuple[_socket.socket, list[int]]") -> None:
    """Close both ends of a channel."""
    ours, fds = ends
    ours.close()
    while fds:
        os.close(fds.pop())


def high(fd: int) -> int:
    """Return a close-on-exec copy of a descriptor, out of the way of what the last leg moves."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
