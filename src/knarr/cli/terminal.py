"""The caller's terminal: raw mode that is always put back, its size, job control."""

from __future__ import annotations

import os
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from knarr.cli.caller import Caller
from knarr.kernel import tty as kernel_tty


def is_terminal(fd: int) -> bool:
    """Return whether ``fd`` is a terminal; a closed descriptor is none."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def size() -> tuple[int, int] | None:
    """Return (rows, columns) of the first terminal among 1, 0 and 2; None without any."""
    for fd in (1, 0, 2):
        try:
            rows, columns = kernel_tty.get_size(fd)
        except OSError:
            continue
        if rows and columns:
            return rows, columns
    return None


def wait_for_foreground(caller: Caller, number: int) -> None:
    """Stop as the kernel stops a background job that reads its terminal, until it is in front."""
    while not caller.in_foreground():
        caller.stop(number)


@contextmanager
def raw(fd: int, caller: Caller) -> Iterator[None]:
    """Put terminal ``fd`` into raw mode for the block; its settings come back however that ends."""
    wait_for_foreground(caller, signal.SIGTTOU)
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)
