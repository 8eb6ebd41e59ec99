"""A container's run directory: its lock, its attach socket, its removal."""

import _socket
import fcntl
import os
import time

# Seconds that one who needs the lock waits for it: who only looks whether it is held has it for
# a moment, and so has one who comes to succeed a supervisor and finds nothing to do.
PATIENCE = 1.0
_PAUSE = 0.0005


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


_SUN_PATH = 108


def _short(directory: str, name: str) -> "tuple[str, int]":
    """Return a path of the socket that fits sun_path, and the descriptor it needs or -1."""
    path = f"{directory}/{name}"
    if len(os.fsencode(path)) < _SUN_PATH:
        return path, -1
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{fd}/{name}", fd


def listen(run_dir: str) -> "_socket.socket":
    """Return the listening attach socket of a run directory."""
    return listen_at(run_dir, "attach.sock")


def listen_at(directory: str, name: str) -> "_socket.socket":
    """Return a listening socket called ``name`` in a directory (unix(7), SOCK_SEQPACKET)."""
    remove_file(directory, name)
    path, fd = _short(directory, name)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
    try:
        sock.bind(path)
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    finally:
        if fd >= 0:
            os.close(fd)
    return sock


def accept(listener: "_socket.socket") -> "_socket.socket":
    """Return the next connection, close-on-exec; BlockingIOError when there is none."""
    fd, _ = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - the C class has no other name for it
    return _socket.socket(fileno=fd)


def connect(run_dir: str, name: str = "attach.sock") -> "_socket.socket":
    """Return a connection to a socket of a run directory; OSError when nobody listens."""
    path, fd = _short(run_dir, name)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    finally:
        if fd >= 0:
            os.close(fd)
    return sock


def remove_file(run_dir: str, name: str) -> None:
    """Remove a file of the directory if it is there."""
    try:
        os.unlink(f"{run_dir}/{name}")
    except FileNotFoundError:
        return


def remove(run_dir: str) -> None:
    """Remove the directory with what a supervisor keeps in it."""
    try:
        for name in os.listdir(run_dir):
            remove_file(run_dir, name)
        os.rmdir(run_dir)
    except FileNotFoundError:
        return
