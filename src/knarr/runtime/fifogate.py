"""A gate that nobody holds: a created process waits at a FIFO, whoever made it is gone.

The maker of a container that is created now and started later (``knarr-oci create``) ends in
between, so there is no channel and no parent to die with. The process reads from a FIFO that
it has open for reading and writing itself: it never sees an end. A byte lets it go on, and its
execve or its end closes the last reader, which whoever wrote the byte can wait for. Why it
failed stands in a file: its cells are mapped from there.
"""

import os

from knarr.kernel import caps
from knarr.kernel import process as k
from knarr.kernel.clone import CLONE_FILES
from knarr.kernel.mounts import MS_PRIVATE, MS_SLAVE
from knarr.kernel.seccomp import FILTER_SIZE, FilterProgram
from knarr.runtime import child, command
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.finalleg import DEFAULT_PATH, Ending
from knarr.runtime.plan import Plan
from knarr.runtime.process import setting_for
from knarr.runtime.program import exchange, memory
from knarr.runtime.program.builder import Label
from knarr.runtime.program.memory import BYTE, CHANNEL, GATE, LINK, ROOT, SLAVE
from knarr.runtime.steps.base import Circumstances, Setting, Step, Stop
from knarr.runtime.steps.mounts import (
    AttachRoot,
    BindMount,
    MoveRoot,
    PivotRoot,
    PrivateTree,
    set_propagation,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.runtime.process import Created, Recipe
    from knarr.runtime.program.builder import Builder

_STREAMS = 3


class HookStop(Stop):
    """Wait until the maker has done what has to be done before the root changes: hooks."""

    __slots__ = ()

    def emit(self, b: "Builder", setting: Setting) -> None:
        """See ``FifoGate``, at_stop."""
        del setting
        child.stop(b)

    def outside(self, recipe: "Recipe", created: "Created") -> None:
        """Do what the gate was given for this moment."""
        if recipe.gate is not None and recipe.gate.at_stop is not None:
            recipe.gate.at_stop(created)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "stop for hooks"


class PrivateRoot(Step):
    """Cut the root off from where it lies on the host: a clone of a shared mount is its peer.

    slave: what is mounted there on the host is still to be seen inside.
    """

    __slots__ = ("slave",)

    def __init__(self, slave: bool) -> None:
        self.slave = slave

    def emit(self, b: "Builder", setting: Setting) -> None:
        """See mount_namespaces(7), "Shared subtrees"."""
        del setting
        set_propagation(b, ROOT, [(MS_SLAVE if self.slave else MS_PRIVATE, True)])

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"root file system: {'slave of' if self.slave else 'private from'} the host's"


class LookUp(Step):
    """See that the program is there while its creator can still be told.

    Callers take a failure of create for the command's, and one of start for the runtime's. The
    program's user may see less: what decides is the look before execve.
    """

    __slots__ = ("name", "path")

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path

    def emit(self, b: "Builder", setting: Setting) -> None:
        """See ``command.find``; a name that begins at the working directory is left for later."""
        del setting
        places = [self.name] if "/" in self.name else self.path.split(":")
        if all(place.startswith("/") for place in places):
            command.find(b, self.name, self.path)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"look for {self.name}"


def prepare(plan: Plan, *, stop: bool, moved: "tuple[str, ...] | None" = None) -> None:
    """Change a plan for a root that is a directory of the host.

    stop: see ``HookStop``. moved: the root is moved and not exchanged; see ``MoveRoot``.
    """
    steps: list[Step] = []
    for step in plan.steps:
        if stop and isinstance(step, PivotRoot):
            steps.append(HookStop())
        if moved is not None and isinstance(step, PivotRoot):
            steps.append(MoveRoot(moved))
            continue
        steps.append(step.in_turn() if isinstance(step, BindMount) else step)
        if isinstance(step, AttachRoot):
            slave = any(step.slave for step in plan.steps if isinstance(step, PrivateTree))
            steps.append(PrivateRoot(slave))
    path = plan.leg.environment().get("PATH", DEFAULT_PATH)
    plan.steps = (*steps, LookUp(plan.leg.args[0], path))


class FifoGate:
    """The gate of one process, for ``process.Recipe``.

    fifo, cells: the files. preserved: how many descriptors from 3 on the program keeps.
    keyring: it gets a session keyring of its own. notifies: see ``Ending``. at_stop: what to do
    while the process waits before its root changes, if its plan has a ``HookStop``.
    """

    __slots__ = (
        "_fds", "_terminal", "at_stop", "cells", "fifo", "keyring", "notifies", "preserved"
    )  # fmt: skip

    def __init__(
        self,
        fifo: str,
        cells: str,
        *,
        preserved: int = 0,
        keyring: bool = True,
        notifies: bool = False,
        at_stop: "Callable[[Created], None] | None" = None,
    ) -> None:
        self.fifo = fifo
        self.cells = cells
        self.preserved = preserved
        self.keyring = keyring
        self.notifies = notifies
        self._terminal = False
        self.at_stop = at_stop
        self._fds: list[int] = []

    def prepare(self) -> None:
        """Make the files, and the first the cell that the program reads. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(self.cells, flags, 0o600)
        try:
            os.ftruncate(fd, memory.CELLS_SIZE)
            memory.tell_in(fd)
        finally:
            os.close(fd)
        os.mkfifo(self.fifo, 0o600)
        fd = os.open(self.fifo, os.O_RDWR | os.O_CLOEXEC)
        self._fds.append(child.high(fd))
        os.close(fd)
        GATE.set(self._fds[0])
        LINK.set(-1)

    def wait_there(self, give: "Callable[[list[int]], list[int]]") -> None:
        """Have the cell say what the FIFO is called elsewhere. give: see ``child.meet_there``."""
        GATE.set(give(self._fds)[0])

    def settle(self, ending: Ending) -> None:
        """Say what is special in the last leg."""
        self._terminal = ending.stdio is None
        ending.preserved = self.preserved
        ending.keyring = self.keyring
        ending.notifies = self.notifies

    def emit(self, b: "Builder") -> None:
        """Wait at the FIFO, which takes the channel's place; the parent may go from here on.

        A failure is no longer heard by the channel, and neither is execve: by the FIFO instead.
        A terminal takes the place of the caller's streams here: who reads them to their end would
        wait for the start.
        """
        b.call("unshare", CLONE_FILES)
        # A maker elsewhere sees by its end that who called it has gone.
        none = Label()
        b.call("close", LINK, orelse=none)
        b.place(none)
        for number in range(_STREAMS if self._terminal else 0):
            b.call("dup3", SLAVE, number, 0)
        b.call("prctl", k.PR_SET_PDEATHSIG, 0, 0, 0, 0)
        b.call("write", CHANNEL, exchange.READY, 1)
        b.call("read", GATE, BYTE, 1)
        b.call("close", CHANNEL)
        b.set(CHANNEL, GATE)

    def let_go(self) -> None:
        """Close this process's end of the FIFO; the process at the gate has its own."""
        while self._fds:
            os.close(self._fds.pop())


def failure(
    fault: "tuple[int, int]", plan: Plan, seen: Circumstances, gate: FifoGate
) -> RuntimeFailure:
    """Return why a program failed whose maker has gone: the program is written down once more.

    fault: what ``fifo.let_go`` returned. plan, seen, gate: what it was made of.
    """
    at, number = fault
    try:
        setting = setting_for(plan, seen.directories)
        permitted = caps.permitted(in_userns=plan.in_userns)
        filtered = FilterProgram(bytes(FILTER_SIZE)) if seen.filtered else None
        ending = Ending(seen.stdio, filtered, None, permitted, has_proc=setting.has_proc)
        gate.settle(ending)
        entrances = ("",) * seen.entrances
        program = child.first(
            plan.unshare_flags, plan.steps, setting, plan.leg, ending, entrances, None, gate.emit
        )
    except (OSError, RuntimeFailure):
        # A device of the host that was there at the time is not there now.
        return RuntimeFailure("error", "start", os.strerror(number), number)
    memory.FAULT_AT.set(at)
    memory.FAULT_ERROR.set(number)
    return program.failure() or RuntimeFailure("error", "start", os.strerror(number), number)
