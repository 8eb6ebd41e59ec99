"""One lock between those who bring blobs in and those who take them away.

A blob that was just stored has no record yet and looks like garbage. So everything
that stores or unpacks holds the lock shared, and nothing is deleted but under
the exclusive lock, which is only ever tried: who finds it busy leaves the garbage
to the next prune. A pull, which may take long, holds it only until it has noted what it
brings in (see ``interrupted``). flock(2) locks end with their holder, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

_LOOK = 0.02  # seconds between two tries


class UseLock:
    """The lock file of one content store; safe between threads and processes."""

    def __init__(self, path: str) -> None:
        self._path = path

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Keep every blob and layer from being deleted while the block runs (OSError)."""
        fd = self._open()
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def exclusive(self, patience: float = 0.0) -> Iterator[bool]:
        """Yield whether nobody stores or unpacks now, and keep it so while the block runs.

        patience: seconds for which those who do may go on.
        """
        fd = self._open()
        try:
            end = time.monotonic() + patience
            while not (free := _try(fd)) and time.monotonic() < end:
                time.sleep(_LOOK)
            yield free
        finally:
            os.close(fd)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
