"""The process on whose behalf a command runs, as the command sees it.

A command may run in the caller itself or in a worker of the command server.
What differs is kept here: who is stopped by the shell's job control, whether
the caller still is there, and which end the process meets.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
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


class ServedCaller(Caller):
    """The command runs in a worker; the caller waits at the other end of ``link``.

    Packets to the caller: ``X<code>`` exit, ``K<n>`` die of signal n, ``T<n>``
    stop by signal n. From the caller: one byte, a signal that it got;
    ``F<0|1>`` whether it is in the foreground now. End of file: it is gone.
    """

    def __init__(self, link: socket.socket, foreground: bool) -> None:
        super().__init__()
        self._link = link
        self._foreground = foreground

    def prepare_signals(self) -> None:
        """As for a caller of its own, and SIGIO when the caller says something or is gone."""
        for number in (*ENDING, *OTHERS):
            signal.signal(number, interrupt)
        signal.signal(signal.SIGTSTP, lambda number, _frame: self.stop(number))
        signal.signal(signal.SIGIO, lambda _number, _frame: self._hear())
        fd = self._link.fileno()
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
        self._hear()  # what was said before O_ASYNC was on

    def _hear(self) -> None:
        while True:
            try:
                word = self._link.recv(64, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                word = b""  # reset: gone with something of ours unread
            self._take(word)

    def _take(self, word: bytes) -> bool:
        """Note what the caller said; return whether it was about the foreground."""
        if not word:
            signal.signal(signal.SIGIO, signal.SIG_IGN)  # once is enough
            raise Interrupted(signal.SIGHUP)
        if len(word) == 1:
            if word[0] != signal.SIGCONT:  # what it means, F tells
                signal.raise_signal(word[0])
            return False
        self._foreground = word == b"F1"
        return True

    def in_foreground(self) -> bool:
        """Return what the caller said last."""
        return self._foreground

    def stop(self, number: int) -> None:
        """Stop the caller by signal ``number`` and wait here until it goes on."""
        before = signal.signal(signal.SIGIO, signal.SIG_IGN)
        self._send(b"T%d" % number)
        try:
            while not self._take(self._link.recv(64)):
                continue
        except OSError:
            raise Interrupted(signal.SIGHUP) from None
        finally:
            signal.signal(signal.SIGIO, before)
        self._hear()  # what came while nobody listened

    def end(self, code: int) -> None:
        """Tell the caller how to end, do what is left, and end.

        The caller's descriptors go first: whoever reads its output sees the end of it now.
        """
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        self._send(b"X%d" % code if code >= 0 else b"K%d" % -code)
        self._link.close()
        self._finish()
        os._exit(0)

    def _send(self, word: bytes) -> None:
        try:
            self._link.send(word, socket.MSG_NOSIGNAL)
        except OSError:
            return  # nobody is left to be told; reading the link says so too
