"""Namespaces made ahead of time: a keeper lives in them until a container's process is cloned.

A network namespace alone takes the kernel about as long as all the rest of making a
process. A *keeper* is a process without Python, in new user, network, IPC and UTS
namespaces, that shares its maker's memory and descriptors. Told to go, it clones the
container's first process, in new mount and PID namespaces and in its control group,
waits, as after vfork(2), until that runs, and ends. It is not in a mount namespace of
its own: that would hold on to what the host unmounts meanwhile.
"""

import os
import struct

from knarr.kernel import clone
from knarr.kernel.clone import CLONE_CLEAR_SIGHAND, CLONE_FILES, CLONE_PARENT, CLONE_PIDFD
from knarr.kernel.namespaces import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from knarr.runtime import child, ends
from knarr.runtime.fifo import GO
from knarr.runtime.program import carrier, exchange, kept, memory
from knarr.runtime.program.builder import Block, Builder, Label
from knarr.runtime.program.memory import CLONE_ARGUMENTS, CLONED, KEEPER, KEEPER_CHANNEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.runtime.program.builder import Program

_KEPT = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
_CLONED = CLONE_NEWPID | CLONE_NEWNS
# The namespaces that a container made with a keeper has.
NAMESPACES = _KEPT | _CLONED
_FLAGS = (CLONE_PARENT | CLONE_PIDFD | CLONE_FILES | clone.CLONE_PARENT_SETTID
          | clone.CLONE_VFORK | clone.CLONE_VM | CLONE_CLEAR_SIGHAND)  # fmt: skip


class Keeper:
    """A keeper, seen from the process that made it and that makes the container.

    pid: of the keeper, which is our sibling. ends: of the container's channel, as
    ``child.meet`` returns them. block: what stands in front of the container's program.
    """

    __slots__ = (
        "_begun",
        "_cgroup_fd",
        "_cloned_flags",
        "_done",
        "_ends",
        "_ours",
        "_pidfd",
        "_sibling",
        "block",
        "ends",
        "pid",
    )

    def __init__(
        self,
        joined: "tuple[tuple[int, int], ...]" = (),
        made: int = NAMESPACES,
        *,
        sibling: bool = True,
    ) -> None:
        """Make a keeper.

        joined: flag and descriptor of namespaces that it enters, a user namespace first, and
        with it the container; made: CLONE_NEW* of those it makes. sibling: it and what it clones
        become children of our parent, else of ourselves, and the keeper ends when it has cloned.
        Raises OSError.
        """
        self._sibling = sibling
        self._begun = self._done = False
        self._cgroup_fd: int | None = None
        self._cloned_flags = made & _CLONED
        flags = made & _KEPT
        if joined:
            self.block: Block = kept.make(_enter, joined, flags)
            flags = 0
        else:
            self.block = kept.block(("keeper",), _keep)
        self.ends = child.meet()
        self._ours, self._ends = child.meet_at(memory.KEEPER_POLL, KEEPER_CHANNEL)
        memory.write(memory.PROGRAM, self.block.data)
        stack = (memory.KEEPER_STACK, memory.STACK_SIZE)
        try:
            flags |= CLONE_PARENT if sibling else 0
            self.pid, self._pidfd = carrier.spawn_at(memory.PROGRAM, flags, stack)
        except OSError:
            self._let_go()
            child.part(self.ends)
            raise

    def begin(self, cgroup_fd: "int | None") -> None:
        """Have the container's first process cloned. cgroup_fd: the v2 group it is born in.

        That descriptor is the keeper's from now on.
        """
        self._cgroup_fd = cgroup_fd
        stack = (memory.STACK, memory.STACK_SIZE)
        # A container that is only created may stay so; its keeper has a stack of its own.
        flags = _FLAGS & ~(0 if self._sibling else clone.CLONE_VFORK)
        arguments = clone.arguments(
            flags | self._cloned_flags, memory.SPAWNED, cgroup_fd, stack, CLONED
        )
        memory.write(CLONE_ARGUMENTS, arguments)
        CLONED.set(0)
        self._begun = True
        self._ours.send(GO)

    def give(self, program: "Program") -> "tuple[int, int] | None":
        """Have the cloned process carry a program out, which begins with ``block``.

        Returns its pid and pidfd, and the keeper is done. None when there is no such process
        or no room for the program: close the keeper and go without it.
        """
        data = program.data()
        if len(data) > memory.PROGRAM_SIZE:
            return None
        if self._ours.fileno() not in ends.readable(self._ours.fileno(), self._pidfd):
            if self._sibling or not CLONED.get():
                return None  # it has ended
            # It has done its work already, and what it cloned is on its way to say so.
            if self._ours.fileno() not in ends.readable(self._ours.fileno(), _spawned()):
                return None
        before = len(self.block.data)
        memory.write(memory.PROGRAM + before, memoryview(data)[before:])
        self.ends[0].send(GO)
        self._leave()
        return CLONED.get(), _spawned()

    def close(self, *, wait: bool = False) -> None:
        """End the keeper and what it cloned, unless that was given to somebody.

        By force: it would take the end of its channel for a word, and what has its number by
        then for its channel. wait: return when it has ended, and its memory is another's to use.
        """
        if self._done:
            return
        ends.kill(self._pidfd)
        if self._begun or wait:
            ends.readable(self._pidfd)
        # Now it is settled whether it has cloned anything.
        if self._begun and CLONED.get():
            pidfd = _spawned()
            ends.end(pidfd)
            if not self._sibling:
                os.waitpid(CLONED.get(), 0)
            os.close(pidfd)
        self._leave()
        child.part(self.ends)

    def _leave(self) -> None:
        self._done = True
        self._let_go()
        if not self._sibling:
            os.waitpid(self.pid, 0)
        os.close(self._pidfd)
        if self._cgroup_fd is not None:
            os.close(self._cgroup_fd)

    def _let_go(self) -> None:
        """Close the keeper's channel, where it must not wait any more."""
        child.part((self._ours, self._ends))


def _spawned() -> int:
    pidfd: int = struct.unpack("=i", memory.read(memory.SPAWNED, 4))[0]
    return pidfd


def make() -> "Keeper | None":
    """Return a keeper; None where there can be none: a start makes all it needs itself, then."""
    if not carrier.SHARED:
        return None
    try:
        return Keeper()
    except OSError:
        return None  # no such namespace, or no more of them


def _enter(b: Builder, joined: "tuple[tuple[int, int], ...]", made: int) -> None:
    """Be a keeper in namespaces of another container.

    What is made is made there, so that it belongs to that user namespace.
    """
    child.be_born(b)
    for flag, fd in joined:
        b.call("setns", fd, flag)
    if made:
        b.call("unshare", made)
    _keep(b)


def _keep(b: Builder) -> None:
    child.be_born(b)
    exchange.wait(b, 0, memory.KEEPER_POLL, KEEPER_CHANNEL)
    inside, outside = Label(), Label()
    # Both store what they get; the keeper not before the other has ended or runs.
    b.call("clone3", CLONE_ARGUMENTS, clone.ARGUMENTS_SIZE, out=KEEPER)
    b.test(KEEPER, 0xFFFFFFFF, 0, orelse=outside)
    b.jump(inside)
    b.place(outside)
    b.end()
    b.place(inside)
    child.be_born(b)
    b.call("write", KEEPER_CHANNEL, exchange.READY, 1)
    exchange.wait(b, 1)
