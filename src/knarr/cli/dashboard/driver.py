"""The caller's terminal for textual: its own descriptors, job control, always given back."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

from textual.drivers.linux_driver import LinuxDriver

from knarr.cli import terminal
from knarr.cli.caller import ENDING

if TYPE_CHECKING:
    from textual.app import App

    from knarr.cli.caller import Caller

# Whatever was on: kitty's keys, pasted text in brackets, focus and mouse reports off; lines wrap;
# the usual screen with its cursor.
_AS_USUAL = (
    b"\033[<u\033[?2048l\033[?2004l\033[?1004l\033[?1016l\033[?1006l\033[?1015l\033[?1003l\033[?1000l"
    b"\033[?7h\033[?1049l\033[?25h\033[0m"
)


def driver_of(caller: Caller) -> type[LinuxDriver]:
    """Return the driver for a command, which may run in another process than its caller."""

    class Driver(LinuxDriver):
        """Textual on descriptors 0 and 1, where textual itself takes stderr for output."""

        of: ClassVar[Caller] = caller

        def __init__(self, app: App[Any], **options: Any) -> None:
            super().__init__(app, **options)
            self._file = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8")
            self.fileno = 0
            self.input_tty = True
            signal.signal(signal.SIGCONT, signal.SIG_DFL)  # the next line goes on by itself
            signal.signal(signal.SIGTSTP, lambda _number, _frame: self.stop_and_go_on())

        def _get_terminal_size(self) -> tuple[int, int]:
            rows, columns = terminal.size() or (24, 80)
            return columns, rows

        def stop_and_go_on(self) -> None:
            """Give the terminal back and stop, as job control wants it, until ``fg``."""
            self.suspend_application_mode()
            self.of.stop(signal.SIGTSTP)
            terminal.wait_for_foreground(self.of, signal.SIGTTOU)
            self.resume_application_mode()

    return Driver


@contextmanager
def held_terminal() -> Iterator[None]:
    """Give the terminal back as it was, however the block ends."""
    before = termios.tcgetattr(0)
    handlers = {number: signal.getsignal(number) for number in _CHANGED}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        with suppress(OSError, termios.error):  # the terminal may be gone
            if termios.tcgetattr(0) != before:
                termios.tcsetattr(0, termios.TCSANOW, before)
                os.write(1, _AS_USUAL)


_CHANGED = (*ENDING, signal.SIGTSTP, signal.SIGCONT, signal.SIGTTOU, signal.SIGTTIN,
            signal.SIGWINCH)  # fmt: skip


def end_by_signals(app: App[Any], ended: list[int]) -> None:
    """Have the signals that end a command end the app in order; ``ended`` gets which came."""

    def end(number: int) -> None:
        ended.append(number)
        app.exit()

    loop = asyncio.get_running_loop()
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, end, number)
