"""Blobs that come in over several attempts: what has come is kept, across processes and runs.

    ROOT/ingest/ALGORITHM-HEX.part   the first bytes of a blob; its writer holds a flock on it

A part is trusted for nothing: who goes on with it takes the digest of what is there first, and
a blob gets its name only when the digest of the whole is right. The lock makes sure that
of several who want a blob one brings it in, and the others find it done. A part that is whole
may be let go of before it is known whether it becomes a blob: others can read it then, too.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

from knarr.closing import Closing
from knarr.content import digest as digests
from knarr.content.durable import publish
from knarr.content.store import Blob
from knarr.errors import InvalidArchive

if TYPE_CHECKING:
    from collections.abc import Container

    from knarr.content.store import ContentStore

SUFFIX = ".part"
_STEP = 1024 * 1024


class Part(Closing):
    """A blob of known digest and size on its way in; use as a context manager.

    size: bytes that are there. Leaving the block keeps them for the next attempt, unless
    ``commit`` gave the blob its name or ``discard`` dropped it.
    """

    def __init__(self, store: ContentStore, digest: str, expected: int, fd: int, path: str) -> None:
        self._store = store
        self._fd = fd
        self.digest = digest
        self.expected = expected
        self.path = path
        self.size = 0
        self._hash = digests.hasher(digest.partition(":")[0])
        self._seen = (0, 0)  # what was verified: length and time of the last change

    def fileno(self) -> int:
        """Return the descriptor of its file, which is open until ``close``."""
        return self._fd

    def take_up(self) -> int:
        """Take the digest of what an earlier attempt left, and return how many bytes that is."""
        there = os.fstat(self._fd).st_size
        if there > self.expected:
            self.restart()
            return 0
        buffer = memoryview(bytearray(_STEP))
        while count := os.preadv(self._fd, [buffer], self.size):
            self._hash.update(buffer[:count])
            self.size += count
        return self.size

    def write(self, data: memoryview) -> None:
        """Append data. Raises InvalidArchive beyond the size that is expected, OSError."""
        if self.size + len(data) > self.expected:
            raise InvalidArchive(
                f"blob {self.digest} is longer than the {self.expected} bytes announced"
            )
        done = 0
        while done < len(data):
            done += os.pwrite(self._fd, data[done:], self.size + done)
        self._hash.update(data)
        self.size += len(data)

    def restart(self) -> None:
        """Drop the bytes that are there."""
        os.ftruncate(self._fd, 0)
        self.size = 0
        self._hash = digests.hasher(self.digest.partition(":")[0])

    def verify(self) -> None:
        """Return when the blob is whole and right; else drop the bytes and raise InvalidArchive.

        A blob that only is not whole yet keeps its bytes.
        """
        if self.size != self.expected:
            raise InvalidArchive(
                f"blob {self.digest} has {self.size} bytes, not the {self.expected} announced"
            )
        found = f"{self.digest.partition(':')[0]}:{self._hash.hexdigest()}"
        if found != self.digest:
            self.restart()
            raise InvalidArchive(f"blob {self.digest} is corrupt: its bytes have digest {found}")

    def commit(self) -> Blob:
        """Verify, make durable and publish the blob; errors as ``verify``, and OSError."""
        self.verify()
        publish(self._fd, self.path, self._store.path(self.digest))
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return Blob(self.digest, self.size)

    def discard(self) -> None:
        """Drop the bytes and the file; afterwards nobody goes on with them."""
        if self._fd >= 0:
            os.unlink(self.path)
            self.close()

    def let_go(self) -> None:
        """Verify it, and leave it to whoever else wants the blob; errors as ``verify``.

        Who waits with a part in hand for another one, which somebody else has, waits for ever.
        """
        self.verify()
        self._seen = self._state()
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def settle(self, *, publish: bool) -> None:
        """Make a blob of a part that was let go of, or drop it, unless somebody else has.

        Waits for whoever reads it just now. Raises InvalidArchive if it was damaged since, OSError.
        """
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            is_ours = os.path.samestat(os.fstat(self._fd), os.stat(self.path))
        except FileNotFoundError:
            is_ours = False
        if is_ours and not publish:
            os.unlink(self.path)
        elif is_ours:
            if self._state() != self._seen:
                self.size, self._hash = 0, digests.hasher(self.digest.partition(":")[0])
                self.take_up()
            self.commit()
        self.close()

    def _state(self) -> tuple[int, int]:
        status = os.fstat(self._fd)
        return status.st_size, status.st_mtime_ns

    def close(self) -> None:
        """Let go of it; calling it again is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_part(store: ContentStore, digest: str, expected: int) -> Part | None:
    """Return the part of a blob of ``expected`` bytes; None while somebody else writes it.

    Raises InvalidArgument for a malformed digest, OSError.
    """
    algorithm, hexdigest = digests.parse(digest)
    path = os.path.join(store.root, "ingest", f"{algorithm}-{hexdigest}{SUFFIX}")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        fd = os.open(path, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        try:
            # The one before may have finished, or removed, it between these two calls.
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return Part(store, digest, expected, fd, path)
        except FileNotFoundError:
            pass
        os.close(fd)


def sizes(store: ContentStore) -> dict[str, int]:
    """Return the bytes on disk of each part, by the digest that it is to have (OSError)."""
    found = {}
    with os.scandir(os.path.join(store.root, "ingest")) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX):
                digest = entry.name.removesuffix(SUFFIX).replace("-", ":", 1)
                try:
                    found[digest] = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue  # finished or removed since
    return found


def remove_old(store: ContentStore, older_than: float, keep: Container[str] = ()) -> int:
    """Remove parts that nobody has written to for so many seconds; return the bytes freed.

    keep: digests of blobs whose parts stay.
    """
    folder = os.path.join(store.root, "ingest")
    horizon = time.time() - older_than
    freed = 0
    for name in os.listdir(folder):
        digest = name.removesuffix(SUFFIX).replace("-", ":", 1)
        if name.endswith(SUFFIX) and digest not in keep:
            freed += _remove_one(os.path.join(folder, name), horizon)
    return freed


def _remove_one(path: str, horizon: float) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = os.fstat(fd)
        if there.st_mtime > horizon or not os.path.samestat(there, os.stat(path)):
            return 0
        os.unlink(path)
    except (BlockingIOError, FileNotFoundError):
        return 0
    finally:
        os.close(fd)
    return there.st_size
