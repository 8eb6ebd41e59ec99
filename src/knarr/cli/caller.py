"""The process on whose behalf a command runs, as the command sees it.

A command may run in the caller itself or in a worker of the command server.
What differs is kept here: who is stopped by the shell's job control, whether
the caller still is there, and which end the process meets.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

from knarr.cli import exitcodes

# Signals that end a command unless it passes them on to a container.
ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
OTHERS = (signal.SIGUSR1, signal.SIGUSR2)


class Interrupted(KeyboardInterrupt):
    """A signal asks the command to end; it unwinds like Ctrl-C and puts things back."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def interrupt(number: int, _frame: FrameType | None) -> None:
    """Signal handler: raise Interrupted in the command."""
    raise Interrupted(number)


class Caller:
    """The command runs in the caller's own process."""

    def __init__(self) -> None:
        self._afterwards: list[Callable[[], None]] = []

    def afterwards(self, work: Callable[[], None]) -> None:
        """Have ``work`` done after the command, and after its caller has been told of the end.

        For what nobody waits for: deleting what was put aside, closing a database.
        """
        self._afterwards.append(work)

    def _finish(self) -> None:
        while self._afterwards:
            try:
                self._afterwards.pop()()
            except Exception:  # of any kind: the command's outcome is settled
                continue  # ``recover`` sweeps what stays

    def prepare_signals(self) -> None:
        """Let signals that would kill the process unwind it instead; keep ignored ones ignored."""
        for number in (*ENDING, *OTHERS):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, interrupt)

    def in_foreground(self) -> bool:
        """Return whether the caller may use its terminal now (shell job control)."""
        try:
            return os.tcgetpgrp(0) == os.getpgrp()
        except OSError:
            return True  # no terminal, so job control has no say

    def stop(self, number: int) -> None:
        """Stop the caller (and this command) as signal ``number`` does, until it is continued."""
        before = signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, before)

    def end(self, code: int) -> None:
        """End with exit code ``code``; a negative one means: die of signal ``-code``."""
        self._finish()
        if code < 0:
            signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
            code = exitcodes.for_signal(-code)  # it is blocked
        os._exit(code)
