"""Pseudo-terminals inside a given devpts, and their window size (ioctl_tty(2))."""

import fcntl
import struct
import termios

TIOCGPTPEER = 0x5441
TIOCSPTLCK = 0x40045431


def set_size(fd: int, rows: int, columns: int) -> None:
    """Set the window size in characters; the foreground group gets SIGWINCH (TIOCSWINSZ)."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("=4H", rows, columns, 0, 0))


def get_size(fd: int) -> "tuple[int, int]":
    """Return (rows, columns) of a terminal (TIOCGWINSZ)."""
    raw: bytes = fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8)
    rows, columns = struct.unpack("=4H", raw)[:2]
    return rows, columns
