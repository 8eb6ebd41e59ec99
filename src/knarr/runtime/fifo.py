"""The FIFO of ``fifogate``, seen from outside: what a command needs that only looks."""

import errno
import os


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
