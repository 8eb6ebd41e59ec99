"""Blobs on their way in.

    uploads/UUID.HASH   what came of one; HASH is of its repository's name
    uploads/HASH        that name

An upload is one file, which is all there is to it, so that it goes on after a restart, and only in
its own repository. How far it came is the file's size. The hash of what came is kept in memory
while it grows; what a restart has lost is read again at the end. The repository's name is for
quotas alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from knarr.content import digest as digests
from knarr.registryd.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from knarr.web.body import Body

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_MARK = re.compile(r"[0-9a-f]{16}\Z")
_FILE = re.compile(r"[0-9a-f-]{36}\.[0-9a-f]{16}\Z")
_LONGEST_NAME = 256
_ROOM = 256 * 1024
_MOST = 10_000  # unfinished at a time: each is a file, also when nothing has come of it


class Upload:
    """One upload. Of several requests that write to it the latest goes on, the others fail:
    a client that lost its connection must not wait until the server has noticed.

    repository: its name, "" when that is not known. ends: whether it becomes a blob just now.
    """

    def __init__(self, name: str, path: str, algorithm: str, repository: str) -> None:
        """Raises FileNotFoundError when the file is not there."""
        self.name = name
        self.path = path
        self.repository = repository
        self.algorithm = algorithm
        self.size = os.stat(path).st_size
        self._hash = digests.hasher(algorithm)
        self._hashed = 0
        self._lock = threading.Lock()
        self._writer = 0
        self.ends = False

    def append(
        self,
        body: Body,
        offset: int | None,
        count: int | None = None,
        check: Callable[[int], None] = lambda _size: None,
    ) -> None:
        """Add what a request brings; what came stays, also when the client is lost.

        offset: where the client believes to be, None when it does not say so.
        count: bytes that have to come, None when it did not say that either.
        check: called with the size that the upload gets before it gets it.
        Raises Fault, Disconnected, OSError from the disk, and what ``check`` raises.
        """
        with self._lock:
            if offset is not None and offset != self.size:
                raise self.out_of_order()
            if self.ends:
                raise Fault(409, "BLOB_UPLOAD_INVALID", "another request ends this upload")
            self._writer += 1
            mine = self._writer
        room = memoryview(bytearray(_ROOM))
        came = 0
        fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            while got := body.readinto(room):
                came += got
                if count is not None and came > count:
                    raise _wrong_length(came, count)
                check(self.size + got)
                self._add(fd, room[:got], mine)
        finally:
            os.close(fd)
        if count is not None and came != count:
            raise _wrong_length(came, count)

    def _add(self, fd: int, data: memoryview, mine: int) -> None:
        with self._lock:
            if self._writer != mine:
                raise Fault(409, "BLOB_UPLOAD_INVALID", "another request goes on with this upload")
            while data:
                done = os.pwrite(fd, data, self.size)
                if self._hashed == self.size:
                    self._hash.update(data[:done])
                    self._hashed += done
                self.size += done
                data = data[done:]

    def expect(self, algorithm: str) -> None:
        """Be told which digest is wanted, before the last bytes come, or all of them."""
        with self._lock:
            if algorithm != self.algorithm and self.size == 0:
                self.algorithm = algorithm
                self._hash = digests.hasher(algorithm)

    def sync(self) -> None:
        """Have the bytes on disk."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    @contextmanager
    def sealed(self) -> Iterator[None]:
        """Let no request add to it within the block: whose digest was taken becomes a blob.

        Who began before gets no further, and who comes later does not begin; either would have
        the file open still when it has its final name. Raises Fault within another such block.
        """
        with self._lock:
            if self.ends:
                raise Fault(409, "BLOB_UPLOAD_INVALID", "another request ends this upload")
            self.ends = True
            self._writer += 1
        try:
            yield
        finally:
            with self._lock:
                self.ends = False

    def digest(self, algorithm: str) -> str:
        """Return the digest of all that came; ``sealed`` keeps it what it is."""
        with self._lock:
            if algorithm == self.algorithm and self._hashed == self.size:
                return f"{algorithm}:{self._hash.hexdigest()}"
            with open(self.path, "rb", buffering=0) as file:
                return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"

    def range(self) -> str:
        """Return what came as the Range header tells it; the same for none and for one byte."""
        return f"0-{max(self.size - 1, 0)}"

    def out_of_order(self) -> Fault:
        """Return what a chunk is answered with that does not begin where the last one ended."""
        return Fault(
            416,
            "BLOB_UPLOAD_INVALID",
            f"the next chunk of this upload begins at byte {self.size}",
            headers=[("Range", self.range())],
        )


def _wrong_length(came: int, count: int) -> Fault:
    said = f"{came} bytes came" if came < count else "more bytes came"
    return Fault(400, "SIZE_INVALID", f"{said}, Content-Range says {count}")


class Uploads:
    """The uploads of a registry, in one directory. Safe for threads."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._known: dict[str, Upload] = {}
        self._lock = threading.Lock()
        os.makedirs(directory, mode=0o700, exist_ok=True)
        for path in self._paths():
            name, mark = os.path.basename(path).split(".")
            with suppress(FileNotFoundError):  # another process has ended it
                self._known[path] = Upload(name, path, "sha256", self._repository(mark))

    def begin(self, repository: str, algorithm: str = "sha256") -> Upload:
        """Return a new upload, whose digest will be of that algorithm (if that was told).

        Raises Fault when there are too many.
        """
        name = str(uuid.uuid4())
        path = self._path(repository, name)
        with self._lock:
            if len(self._known) >= _MOST:
                raise Fault(
                    429, "TOOMANYREQUESTS", f"{_MOST} uploads are unfinished here: try again later",
                    headers=[("Retry-After", "60")],
                )  # fmt: skip
            self._note(repository)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            upload = self._known[path] = Upload(name, path, algorithm, repository)
        return upload

    def find(self, repository: str, name: str) -> Upload:
        """Return an upload of a repository. Raises Fault when it is not there."""
        if _UUID.match(name):
            path = self._path(repository, name)
            with self._lock:
                try:
                    os.utime(path)  # its time until it expires begins anew
                    if path not in self._known:
                        self._known[path] = Upload(name, path, "sha256", repository)
                    return self._known[path]
                except FileNotFoundError:
                    self._known.pop(path, None)  # it may have expired by another process's clock
        raise Fault(
            404,
            "BLOB_UPLOAD_UNKNOWN",
            f"there is no upload {name[:64]!r} in {repository}: it has ended or expired",
        )

    def forget(self, upload: Upload) -> None:
        """Drop what is left of an upload."""
        with self._lock:
            self._drop(upload.path)

    def size(self, pattern: str, but: Upload | None = None) -> int:
        """Return the bytes that came of uploads to repositories of a pattern, but for one of them.

        Those whose repository is not known count for the pattern of all.
        """
        with self._lock:
            return sum(
                each.size
                for each in self._known.values()
                if each is not but and fnmatchcase(each.repository, pattern)
            )

    def expire(self, seconds: float, pattern: str = "*") -> int:
        """Drop uploads that nobody has written to or asked for in that time; return how many.

        pattern: of the repositories whose uploads are meant.
        """
        horizon = time.time() - seconds
        gone = 0
        for path in self._paths():
            with self._lock, suppress(FileNotFoundError):
                repository = self._repository(path.rpartition(".")[2])
                old = os.stat(path, follow_symlinks=False).st_mtime <= horizon
                if old and fnmatchcase(repository, pattern):
                    self._drop(path)
                    gone += 1
        self._forget_ended(horizon)
        return gone

    def _drop(self, path: str) -> None:
        self._known.pop(path, None)
        with suppress(FileNotFoundError):
            os.unlink(path)

    def _forget_ended(self, horizon: float) -> None:
        """Forget uploads that another process has ended, and names that no upload needs."""
        paths = set(self._paths())
        with self._lock:
            for path in [each for each in self._known if not os.path.exists(each)]:
                del self._known[path]
        needed = {path.rpartition(".")[2] for path in paths}
        with os.scandir(self._directory) as entries:
            marks = [each.name for each in entries if _MARK.match(each.name)]
        for mark in set(marks) - needed:
            path = os.path.join(self._directory, mark)
            with self._lock, suppress(FileNotFoundError):
                if os.stat(path).st_mtime <= horizon:
                    os.unlink(path)

    def _note(self, repository: str) -> None:
        """Write down the name of a repository to which something is uploaded."""
        path = os.path.join(self._directory, _mark(repository))
        try:
            os.utime(path)
        except FileNotFoundError:
            with open(path, "w", opener=_private) as file:
                file.write(repository)

    def _repository(self, mark: str) -> str:
        with (
            suppress(FileNotFoundError),
            open(os.path.join(self._directory, mark), encoding="utf-8") as file,
        ):
            name = file.read(_LONGEST_NAME)
            return name if _mark(name) == mark else ""  # cut short by a crash
        return ""

    def _paths(self) -> list[str]:
        with os.scandir(self._directory) as entries:
            return [each.path for each in entries if _FILE.match(each.name)]

    def _path(self, repository: str, name: str) -> str:
        return os.path.join(self._directory, f"{name}.{_mark(repository)}")


def _mark(repository: str) -> str:
    return hashlib.sha256(repository.encode()).hexdigest()[:16]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
