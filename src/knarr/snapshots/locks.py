"""flock(2) on small files: who may touch what, across threads and processes.

A lock belongs to the open file, so a process that dies gives it up.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


@contextlib.contextmanager
def shared(path: str) -> Iterator[None]:
    """Hold a shared lock on a file that stays for ever (made when missing)."""
    with _held(path, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def exclusive(path: str) -> Iterator[None]:
    """Hold an exclusive lock on a file that stays for ever (made when missing)."""
    with _held(path, fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def _held(path: str, how: int) -> Iterator[None]:
    fd = os.open(path, _FLAGS, 0o600)
    try:
        fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def exclusive_once(path: str) -> Iterator[None]:
    """Hold an exclusive lock on a file that goes away with it.

    Whoever gets the lock checks that the file is still the one of that name:
    the holder before may have removed it, and then the lock guards nothing.
    """
    while True:
        fd = os.open(path, _FLAGS, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not _is_named(fd, path):
                continue
            try:
                yield
            finally:
                os.unlink(path)
            return
        finally:
            os.close(fd)


def try_exclusive(fd: int) -> bool:
    """Lock an open file or directory if nobody holds it; returns whether that worked."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_named(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
