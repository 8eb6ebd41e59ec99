"""An OCI layout that is a directory: files are opened beneath it and nowhere else."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

from knarr.content.store import Blob
from knarr.errors import InvalidArchive
from knarr.images import documents
from knarr.images.archive.members import normalise
from knarr.images.intake import Intake
from knarr.kernel import files


class DirectoryMembers:
    """The files of a directory, read when they are asked for; use as a context manager."""

    def __init__(self, path: str, intake: Intake) -> None:
        self._intake = intake
        self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the directory."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def has(self, name: str) -> bool:
        """See ``Members.has``."""
        try:
            self._open(name).close()
        except FileNotFoundError:
            return False
        return True

    def blob(self, name: str, digest: str | None = None, size: int | None = None) -> Blob:
        """See ``Members.blob``."""
        try:
            with self._open(name) as file:
                return self._intake.stream(file, digest, size)
        except FileNotFoundError:
            raise InvalidArchive(f"the layout has no file {name}") from None

    def read(self, name: str) -> bytes:
        """See ``Members.read``."""
        try:
            with self._open(name) as file:
                size = os.fstat(file.fileno()).st_size
                if size > documents.LIMIT:
                    raise InvalidArchive(f"{name} in the layout is {size} bytes, too large")
                return file.read(documents.LIMIT + 1)
        except FileNotFoundError:
            raise InvalidArchive(f"the layout has no file {name}") from None

    def _open(self, name: str) -> BinaryIO:
        # Looked at before it is opened: a FIFO must not hang us, a device not start to move.
        flags = os.O_PATH | os.O_CLOEXEC
        resolve = files.RESOLVE_BENEATH | files.RESOLVE_NO_MAGICLINKS
        try:
            fd = files.openat2(self._fd, normalise(name), flags, resolve=resolve)
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.ELOOP):
                raise InvalidArchive(f"{name} is a link that leads out of the layout") from None
            raise
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise InvalidArchive(f"{name} in the layout is not a regular file")
            return open(f"/proc/self/fd/{fd}", "rb", buffering=0)
        finally:
            os.close(fd)
