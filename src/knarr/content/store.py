"""A directory of blobs, each under its own digest.

    ROOT/blobs/sha256/HEX     a whole, verified blob; never written again (0444)
    ROOT/ingest/NAME          a blob on its way in; its writer holds a flock on it
    ROOT/ingest/DIGEST.part   the same, kept when it is interrupted: see ``parts``

A blob comes into ``blobs`` by one rename of a file that is complete, verified
and on disk; the directory is synced after it. So a name in ``blobs`` always
stands for the right bytes, whenever the power fails, and any number of writers
of the same digest are fine: the last rename wins and both were equal.
The flock tells ``cleanup`` which ingest files still have a living writer.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple, Self

from knarr.content import digest as digests
from knarr.content.durable import publish, sync_directory
from knarr.errors import InvalidArchive, InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

READ_LIMIT = 4 * 1024 * 1024
_CHUNK = 1024 * 1024


class Blob(NamedTuple):
    """What the store knows about a blob: its digest and its size in bytes."""

    digest: str
    size: int


class Writer:
    """One blob on its way into the store; use as a context manager.

    Leaving the ``with`` block without ``commit`` (or by an exception) removes
    every trace. Made by ``ContentStore.ingest``.
    """

    def __init__(self, root: str, expected_digest: str | None, expected_size: int | None) -> None:
        algorithm = digests.parse(expected_digest)[0] if expected_digest else "sha256"
        if expected_size is not None and expected_size < 0:
            raise InvalidArgument(f"blob size {expected_size} is negative")
        self._root = root
        self._expected_digest = expected_digest
        self._expected_size = expected_size
        self._algorithm = algorithm
        self._hash = digests.hasher(algorithm)
        self._fd, self._temporary = _new_ingest(os.path.join(root, "ingest"))
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append data and return its length in bytes.

        Raises InvalidArchive as soon as more than the expected size has come,
        OSError (ENOSPC, EDQUOT) from the disk, ValueError after the end.
        """
        if self._fd < 0:
            raise ValueError("write to a finished blob writer")
        view = memoryview(data).cast("B")
        length = len(view)
        if self._expected_size is not None and self.size + length > self._expected_size:
            raise InvalidArchive(
                f"blob {self._label()} is longer than the {self._expected_size} bytes announced"
            )
        done = 0
        while done < length:
            done += os.write(self._fd, view[done:])
        self._hash.update(view)
        self.size += length
        return length

    def commit(self) -> Blob:
        """Verify, make durable and publish the blob; return its digest and size.

        Raises InvalidArchive when digest or size differ from what was
        expected (nothing is kept), OSError when the disk refuses.
        """
        if self._fd < 0:
            raise ValueError("commit of a finished blob writer")
        found = f"{self._algorithm}:{self._hash.hexdigest()}"
        if self._expected_size is not None and self.size != self._expected_size:
            raise InvalidArchive(
                f"blob {self._label()} has {self.size} bytes,"
                f" not the {self._expected_size} announced"
            )
        if self._expected_digest is not None and found != self._expected_digest:
            raise InvalidArchive(
                f"blob {self._expected_digest} is corrupt: its bytes have digest {found}"
            )
        publish(self._fd, self._temporary, _blob_path(self._root, found))
        self._temporary = ""
        self.abort()
        return Blob(found, self.size)

    def abort(self) -> None:
        """Drop what was written, unless it was committed; calling it again is harmless."""
        if self._fd < 0:
            return
        if self._temporary:
            # Unlinked before the close: while the name exists the flock is held.
            _unlink_if_there(self._temporary)
            self._temporary = ""
        os.close(self._fd)
        self._fd = -1

    def _label(self) -> str:
        return self._expected_digest or "being stored"


class ContentStore:
    """The blobs under one directory. Safe for several threads and processes."""

    def __init__(self, root: str) -> None:
        """Open the store at root, making its directories where they are missing (OSError)."""
        self.root = os.path.abspath(root)
        self._ingest = os.path.join(self.root, "ingest")
        for name in ("ingest", *(os.path.join("blobs", each) for each in digests.ALGORITHMS)):
            os.makedirs(os.path.join(self.root, name), mode=0o700, exist_ok=True)

    def ingest(
        self, expected_digest: str | None = None, expected_size: int | None = None
    ) -> Writer:
        """Return a Writer for a new blob (size in bytes).

        Without expected_digest the blob is stored under its sha256.
        Raises InvalidArgument for a malformed digest, OSError from the disk.
        """
        return Writer(self.root, expected_digest, expected_size)

    def add(self, data: bytes, expected_digest: str | None = None) -> Blob:
        """Store data in one go and return its digest and size; errors as ``ingest``."""
        with self.ingest(expected_digest, len(data)) as writer:
            writer.write(data)
            return writer.commit()

    def adopt(self, path: str, digest: str) -> None:
        """Move a file of the same file system in, whose bytes the caller found to have that digest.

        Raises InvalidArgument for a malformed digest, OSError; the file stays then.
        """
        target = self.path(digest)
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            publish(fd, path, target)
        finally:
            os.close(fd)

    def link(self, path: str, digest: str) -> None:
        """Have a file's bytes as a blob too, where the caller found them to have that digest.

        The blob and the file are one, so it must never be written again; it is read-only after
        this. Does nothing when the blob is here. Raises InvalidArgument for a malformed digest,
        OSError where files have no links, or none from there.
        """
        target = self.path(digest)
        try:
            os.link(path, target, follow_symlinks=False)
        except FileExistsError:
            return
        os.chmod(target, 0o444)
        sync_directory(os.path.dirname(target))

    def path(self, digest: str) -> str:
        """Return the path where that blob is, or would be (InvalidArgument if malformed)."""
        return _blob_path(self.root, digest)

    def has(self, digest: str) -> bool:
        """Return whether the blob is stored."""
        return os.path.exists(self.path(digest))

    def open(self, digest: str) -> BinaryIO:
        """Return the blob opened for reading, unbuffered; raises NotFound."""
        try:
            return open(self.path(digest), "rb", buffering=0)
        except FileNotFoundError:
            raise _missing(digest) from None

    def stat(self, digest: str) -> int:
        """Return the blob's size in bytes; raises NotFound."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def read(self, digest: str, limit: int = READ_LIMIT) -> bytes:
        """Return the blob's bytes, verified against the digest.

        For small blobs (manifests, configs). Raises NotFound, InvalidArgument
        when it is longer than limit bytes, InvalidArchive when it is damaged.
        """
        with self.open(digest) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise InvalidArgument(f"blob {digest} has {size} bytes, more than {limit} allowed")
            data = _read_up_to(file, limit + 1)
        found = digests.of(data, digests.parse(digest)[0])
        if found != digest:
            raise InvalidArchive(f"blob {digest} is damaged on disk: its bytes have digest {found}")
        return data

    def delete(self, digest: str) -> None:
        """Remove the blob for good; raises NotFound. Open readers keep their data."""
        path = self.path(digest)
        try:
            os.unlink(path)
        except FileNotFoundError:
            raise _missing(digest) from None
        sync_directory(os.path.dirname(path))

    def walk(self) -> Iterator[Blob]:
        """Yield every stored blob, in no promised order."""
        for algorithm in digests.ALGORITHMS:
            with os.scandir(os.path.join(self.root, "blobs", algorithm)) as entries:
                for entry in entries:
                    name = f"{algorithm}:{entry.name}"
                    if digests.is_valid(name):
                        try:
                            yield Blob(name, entry.stat(follow_symlinks=False).st_size)
                        except FileNotFoundError:
                            continue  # deleted while we listed

    def verify(self, digest: str) -> None:
        """Read the whole blob and compare; raises NotFound, InvalidArchive when damaged."""
        hash_ = digests.hasher(digests.parse(digest)[0])
        with self.open(digest) as file:
            while chunk := file.read(_CHUNK):
                hash_.update(chunk)
        found = f"{digests.parse(digest)[0]}:{hash_.hexdigest()}"
        if found != digest:
            raise InvalidArchive(f"blob {digest} is damaged on disk: its bytes have digest {found}")

    def cleanup(self, older_than: float = 0.0) -> int:
        """Remove what dead writers left in ``ingest`` and return how many files went.

        Only files unchanged for older_than seconds whose writer is gone. What came of a blob
        that is wanted again stays: ``parts.remove_old``.
        """
        removed = 0
        horizon = time.time() - older_than
        with os.scandir(self._ingest) as entries:
            paths = [entry.path for entry in entries if not entry.name.endswith(".part")]
        for path in paths:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                if os.fstat(fd).st_mtime <= horizon and _lock_now(fd):
                    removed += _unlink_if_there(path)
            finally:
                os.close(fd)
        return removed


def _new_ingest(directory: str) -> tuple[int, str]:
    """Return (descriptor, path) of a new locked file in that directory."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        path = os.path.join(directory, secrets.token_hex(8))
        fd = os.open(path, flags, 0o600)
        # cleanup() may have taken the lock, and the file, between these two calls.
        if _lock_now(fd) and _is_same_file(fd, path):
            return fd, path
        os.close(fd)


def _blob_path(root: str, digest: str) -> str:
    algorithm, hexdigest = digests.parse(digest)
    return os.path.join(root, "blobs", algorithm, hexdigest)


def _missing(digest: str) -> NotFound:
    return NotFound(f"blob {digest} is not in the content store")


def _read_up_to(file: IO[bytes], count: int) -> bytes:
    parts: list[bytes] = []
    while count > 0 and (chunk := file.read(min(count, _CHUNK))):
        parts.append(chunk)
        count -= len(chunk)
    return b"".join(parts)


def _lock_now(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same_file(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _unlink_if_there(path: str) -> int:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return 0
    return 1
