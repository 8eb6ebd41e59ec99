"""The caller of a command that runs in a worker of the command server."""

from __future__ import annotations

import os
import signal
import socket

from knarr.cli.caller import ENDING, OTHERS, Caller, Interrupted, interrupt
from knarr.warm import request as requests


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
        requests.tell_by(self._link)
        self._hear()  # what was said before O_ASYNC was on

    def _hear(self) -> None:
        for word in requests.heard(self._link):
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
        requests.say(self._link, b"T%d" % number)
        try:
            while not self._take(self._link.recv(64)):
                continue
        except OSError:
            raise Interrupted(signal.SIGHUP) from None
        finally:
            signal.signal(signal.SIGIO, before)
        self._hear()  # what came while nobody listened

    def end(self, code: int) -> None:
        """Tell the caller how to end, do what is left, and end."""
        requests.let_go_of_streams()
        requests.say(self._link, b"X%d" % code if code >= 0 else b"K%d" % -code)
        self._link.close()
        self._finish()
        os._exit(0)
