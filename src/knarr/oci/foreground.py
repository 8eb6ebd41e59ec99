"""``run`` and ``exec`` in the foreground: signals and a terminal are passed on until the end."""

import fcntl
import gc
import os
import select
import termios

from knarr.kernel.files import write_all
from knarr.kernel.lean import signal
from knarr.kernel.process import pidfd_send_signal
from knarr.runtime.program import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLOCK = 32 << 10
_REST = 1 << 20  # bytes; more than a terminal holds in a block each
# What is this process's own affair.
_OWN = frozenset((signal.SIGCHLD, signal.SIGURG, signal.SIGPIPE, signal.SIGKILL, signal.SIGSTOP,
                  signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH))  # fmt: skip


class Foreground:
    """Whoever waits for a program that is a child of this process."""

    __slots__ = ("_before", "_master", "_pidfd", "_wake")

    def __init__(self) -> None:
        self._pidfd = self._master = -1
        self._before: list[Any] | None = None
        self._wake = (-1, -1)

    def prepare(self, pidfd: int, master: int) -> None:
        """Pass signals on from here on, and have the caller's terminal say every key.

        master: of the program's terminal, -1 for none.

        The other side of the container's terminal was opened in the table of descriptors that
        its process shared with this one: as long as it is open here it has no end.
        """
        self._pidfd = pidfd
        self._master = master
        # One that comes just before a call of the kernel would wait for the call's end.
        self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        for number in signal.valid_signals() - _OWN:
            signal.signal(number, self._pass_on)
        if self._master < 0:
            return
        os.close(memory.SLAVE.get())
        signal.signal(signal.SIGWINCH, lambda *_: None)
        if not os.isatty(1):
            _with_plain_ends(master)
        if os.isatty(0):
            import tty

            self._before = termios.tcgetattr(0)
            tty.setraw(0)
            self._resize()

    def _pass_on(self, number: int, frame: object) -> None:
        del frame
        try:
            pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return  # it has just ended

    def _resize(self) -> None:
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def wait(self) -> int:
        """Return the program's exit status as a shell has it, once it has ended."""
        gc.enable()
        try:
            self._relay() if self._master >= 0 else self._watch()
            info = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        finally:
            self.restore()
        assert info is not None
        return info.si_status if info.si_code == os.CLD_EXITED else 128 + info.si_status

    def restore(self) -> None:
        """Give the caller's terminal back as it was."""
        if self._before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)
            self._before = None

    def _watch(self) -> None:
        """Pass signals on until the program has ended."""
        poll = select.poll()
        for fd in (self._wake[0], self._pidfd):
            poll.register(fd, select.POLLIN)
        while not any(fd == self._pidfd for fd, _ in poll.poll()):
            os.read(self._wake[0], _BLOCK)

    def _relay(self) -> None:
        """Copy between the caller's streams and the terminal until the program has ended.

        What it left in the background may have the terminal open still, and write to it.
        """
        poll = select.poll()
        for fd in (self._master, self._wake[0], self._pidfd, 0):
            poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._pidfd:
                    self._show_rest()
                    return
                if fd == self._wake[0]:
                    os.read(fd, _BLOCK)
                    if self._before is not None:
                        self._resize()
                elif fd == self._master:
                    if not self._show():
                        return
                else:
                    data = os.read(0, _BLOCK)
                    if not data:
                        poll.unregister(0)
                        data = b"\x04"  # end of file for a terminal in its usual mode
                    self._type(data)

    def _show_rest(self) -> None:
        """Show what the terminal has not handed out yet, and no more than it can hold."""
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        for _ in range(_REST // _BLOCK):
            if not poll.poll(0) or not self._show():
                return

    def _show(self) -> bool:
        try:
            data = os.read(self._master, _BLOCK)
        except OSError:
            return False  # EIO: the last who had it open has closed it
        write_all(1, data)
        return True

    def _type(self, data: bytes) -> None:
        try:
            write_all(self._master, data)
        except OSError:
            return  # as above; the next look says so


def _with_plain_ends(terminal: int) -> None:
    """Have lines end as they do in a file: nobody shows them on a terminal of his own."""
    settings = termios.tcgetattr(terminal)
    settings[1] &= ~termios.ONLCR
    termios.tcsetattr(terminal, termios.TCSANOW, settings)
