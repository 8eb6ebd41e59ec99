"""Pseudo-terminals inside a given devpts, and their window size (ioctl_tty(2))."""

import fcntl
import os
import struct
import termios

_TIOCGPTPEER = 0x5441
_TIOCSPTLCK = 0x40045431
_TIOCGPTN = 0x80045430


def unlock(master: int) -> None:
    """Unlock the slave of a freshly opened ptmx (TIOCSPTLCK)."""
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("=i", 0))


def number(master: int) -> int:
    """Return N of the slave ``/dev/pts/N`` (TIOCGPTN)."""
    raw: bytes = fcntl.ioctl(master, _TIOCGPTN, b"\0\0\0\0")
    value: int = struct.unpack("=I", raw)[0]
    return value


def open_slave(master: int) -> int:
    """Return the slave of ``master`` without any path look-up (TIOCGPTPEER, Linux 4.13)."""
    return fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def set_controlling(fd: int) -> None:
    """Make ``fd`` the controlling terminal of this session leader (TIOCSCTTY)."""
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


def set_size(fd: int, rows: int, columns: int) -> None:
    """Set the window size in characters; the foreground group gets SIGWINCH (TIOCSWINSZ)."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("=4H", rows, columns, 0, 0))


def get_size(fd: int) -> "tuple[int, int]":
    """Return (rows, columns) of a terminal (TIOCGWINSZ)."""
    raw: bytes = fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8)
    rows, columns = struct.unpack("=4H", raw)[:2]
    return rows, columns
