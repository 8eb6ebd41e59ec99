"""A container's run directory: its lock, its attach socket, its removal."""

import fcntl
import os
import time

from knarr.runtime import packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

# Seconds that one who needs the lock waits for it: who only looks whether it is held has it for
# a moment, and so has one who comes to succeed a supervisor and finds nothing to do.
PATIENCE = 1.0
_PAUSE = 0.0005
ATTACH = "attach.sock"
accept = packets.accept
listen_at = packets.listen_at
remove_file = packets.remove_file


class Busy(OSError):
    """Another supervisor has the container."""


def lock(run_dir: str, *, wait: bool = False, patience: float = 0.0) -> int:
    """Return a descriptor that holds the directory's lock; it is gone with the process (flock(2)).

    Raises Busy when somebody else holds it for longer than ``patience`` (s), unless ``wait``.
    """
    fd = os.open(f"{run_dir}/lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        while not _take(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)):
            if patience <= 0:
                raise Busy(11, "the container already has a supervisor", run_dir)
            time.sleep(_PAUSE)
            patience -= _PAUSE
    except BaseException:
        os.close(fd)
        raise
    return fd


def _take(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how)
    except BlockingIOError:
        return False
    return True


def is_locked(run_dir: str) -> bool:
    """Return whether a supervisor lives for this directory.

    It makes no file, which the directory's removal could trip over, and two who look do not
    take each other for a supervisor.
    """
    try:
        fd = os.open(f"{run_dir}/lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _take(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(fd)


def listen(run_dir: str) -> "_socket.socket":
    """Return the listening attach socket of a run directory."""
    return listen_at(run_dir, ATTACH)


def connect(run_dir: str, name: str = ATTACH) -> "_socket.socket":
    """Return a connection to a socket of a run directory; OSError when nobody listens."""
    return packets.connect(run_dir, name)


def remove(run_dir: str) -> None:
    """Remove the directory with what a supervisor keeps in it."""
    try:
        for name in os.listdir(run_dir):
            remove_file(run_dir, name)
        os.rmdir(run_dir)
    except FileNotFoundError:
        return
