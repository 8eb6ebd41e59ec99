"""The FIFO of ``fifogate``, seen from outside: what a command needs that looks, or opens it."""

import errno
import os
import select

GO = b"g"
_FAULT = 16  # bytes: FAULT_AT and FAULT_ERROR of ``program.memory``


def is_waiting(path: str) -> bool:
    """Return whether a process waits at the FIFO. Raises FileNotFoundError when there is none."""
    try:
        os.close(open_writer(path))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return False
    return True


def open_writer(path: str) -> int:
    """Return a descriptor to write to who waits at the FIFO; ENXIO when nobody does."""
    return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)


def let_go(path: str, cells: str) -> "tuple[int, int]":
    """Let the process go; return when its program runs, or has failed: at which operation, why.

    cells: the file that says so. The second number is an errno, 0 for a program that runs.
    """
    fd = open_writer(path)
    try:
        os.write(fd, GO)
        poll = select.poll()
        poll.register(fd, 0)  # POLLERR: nobody reads any more
        poll.poll()
    finally:
        os.close(fd)
    with open(cells, "rb") as file:
        fault = file.read(_FAULT)
    at, number = (int.from_bytes(part, "little", signed=True) for part in (fault[:8], fault[8:]))
    return at, number
