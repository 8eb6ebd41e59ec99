"""A process that carries out its program, seen from who made it; and who it is to become."""

import os

from knarr.errors import KnarrError
from knarr.runtime import ends
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.fifo import GO
from knarr.runtime.program import memory
from knarr.runtime.program.builder import Program
from knarr.runtime.program.exchange import READY
from knarr.runtime.steps.base import Setting, Step
from knarr.runtime.steps.identity import User

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable


class Waiting:
    """A process that carries out its program and shares memory with this one, seen from here.

    ends: of the channel, as ``child.meet`` returns them. sibling: the process is one of ours,
    so that our parent waits for it. pid, pidfd: of the process. answer: what to do when it asks
    for something (``program.exchange.ask``), with the question. ahead: its gate was opened already.
    look: called now and then while nothing happens, where no other is given.
    Raises RuntimeFailure where the program failed.
    """

    __slots__ = (
        "_program", "_sibling", "_sock", "_theirs", "ahead", "answer", "look", "pid", "pidfd"
    )  # fmt: skip

    def __init__(
        self,
        program: Program,
        ends: "tuple[_socket.socket, list[int]]",
        process: "tuple[int, int]",
        *,
        sibling: bool,
    ) -> None:
        self._program = program
        self._sock, self._theirs = ends
        self._sibling = sibling
        self.pid, self.pidfd = process
        self.answer: Callable[[bytes], None] | None = None
        self.ahead = False
        self.look: Callable[[], None] | None = None

    def go(self) -> None:
        """Let the process go on to its next stop."""
        try:
            self._sock.send(GO)
        except BrokenPipeError:
            # It has ended; what comes next says why.
            return

    def await_ready(self, look: "Callable[[], None] | None" = None) -> None:
        """Return when it waits at its gate. It has a table of descriptors of its own from then on.

        Until then this process holds the other end too and would not see it close.
        look: called now and then while nothing happens.
        """
        self.await_stop(look)
        self._let_go()

    def await_stop(self, look: "Callable[[], None] | None" = None) -> None:
        """Return when it waits at a stop of its program before the gate; it may ask on its way."""
        look = look or self.look
        while True:
            if self._sock.fileno() not in ends.readable(self._sock.fileno(), self.pidfd, look=look):
                self._fail()
                raise RuntimeFailure("error", "create", "the process ended before it was ready")
            said = self._sock.recv(1)
            if said == READY or self.answer is None:
                return
            self.answer(said)
            self.go()
            if self.ahead:
                self.go()  # the byte that opened the gate was read by who waited for an answer

    def await_exec(self, look: "Callable[[], None] | None" = None) -> None:
        """Return when it has become what it was to be. look: see ``await_ready``."""
        look = look or self.look
        if look is not None:
            ends.readable(self._sock.fileno(), look=look)
        if not self._sock.recv(1):
            self._fail()

    def _fail(self) -> None:
        failure = self._program.failure()
        if failure is not None:
            raise failure

    def kill(self) -> None:
        """Kill the process; returns when it has ended."""
        ends.kill(self.pidfd)
        if self._sibling:
            ends.readable(self.pidfd)
        else:
            os.waitpid(self.pid, 0)

    def close(self) -> None:
        """Let go of the channel."""
        self._sock.close()
        self._let_go()

    def _let_go(self) -> None:
        while self._theirs:  # a signal may come between any two, and this be done again
            os.close(self._theirs.pop())


def is_known(steps: "tuple[Step, ...]", setting: Setting) -> bool:
    """Return whether it is settled who the process becomes, before it has read any file."""
    return all(step.is_known(setting) for step in steps if isinstance(step, User))


def resolve(steps: "tuple[Step, ...]", setting: Setting) -> "tuple[int, int]":
    """Settle who the process at the gate becomes; returns its ids in the container.

    Raises RuntimeFailure where that cannot be.
    """
    for step in steps:
        if isinstance(step, User):
            try:
                user = step.resolve(setting)
                memory.set_user(user.uid, user.gid, user.additional_gids, user.home)
            except (KnarrError, OverflowError) as error:
                raise RuntimeFailure("invalid", step.describe(), str(error)) from error
            return user.uid, user.gid
    raise RuntimeFailure("error", "user", "no step says who the process is")
