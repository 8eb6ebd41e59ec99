"""One blob from a registry to the store, readable while it comes.

    registry --> digest --> part of the store --> (whole and right) --> blob
                                |
                                +--> whoever unpacks it, some bytes behind

The reader gets its end only after the digest was found right, so that what is made of the
bytes can be thrown away before anybody sees it.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from knarr.content import parts
from knarr.content.parts import Part
from knarr.content.store import ContentStore
from knarr.errors import InvalidArchive, Unavailable
from knarr.images.descriptor import Descriptor

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from knarr.registry.repository import Repository

_STEP = 1024 * 1024
# Seconds between two looks at a blob that another process brings in.
_LOOK = 0.2


class Download:
    """A blob on its way; ``run`` brings it in, ``reader`` follows it from other threads.

    stop: when it is set, nothing is waited for any more. report: is told (state, bytes).
    """

    def __init__(
        self,
        store: ContentStore,
        repository: Repository,
        blob: Descriptor,
        stop: threading.Event,
        report: Callable[[str, int | None], None],
    ) -> None:
        self.blob = blob
        self._store = store
        self._repository = repository
        self._stop = stop
        self._report = report
        self._changed = threading.Condition()
        self._path = ""
        self._written = 0
        self._done = False
        self._error: BaseException | None = None

    def run(self) -> None:
        """Bring the blob into the store; returns at once when it is there.

        Raises what the registry refuses, InvalidArchive for wrong bytes, OSError.
        """
        try:
            self._bring()
        except BaseException as error:
            self._tell(error=error)
            raise
        self._tell(done=True)

    def reader(self) -> io.BufferedReader:
        """Return the blob as a stream that waits for bytes that are still to come.

        Reading raises Unavailable when they do not come.
        """
        return io.BufferedReader(_Follower(self), _STEP)

    def wait_for(self, position: int) -> tuple[str, int, bool]:
        """Return (path, bytes written, whether whole and right) once there are more than position.

        Raises Unavailable when the download has failed; that error says why.
        """
        with self._changed:
            while self._written <= position and not self._done:
                if self._error is not None:
                    raise Unavailable(f"blob {self.blob.digest[:19]} did not arrive")
                self._changed.wait()
            return self._path, self._written, self._done

    def _bring(self) -> None:
        blob = self.blob
        if blob.data is not None:
            self._store.add(blob.data, blob.digest)
        part = None
        while not self._is_here():
            part = parts.open_part(self._store, blob.digest, blob.size)
            if part is not None:
                break
            # Somebody else brings it in: it is here afterwards, or its part is ours.
            if self._stop.wait(_LOOK):
                raise Unavailable("given up")
        if part is None:
            self._tell(path=self._store.path(blob.digest), written=blob.size)
            self._report("Download complete", None)
            return
        with part:
            if not self._is_here():
                self._fill(part)
                self._report("Verifying Checksum", None)
                part.commit()
            else:  # finished between our look and our lock
                part.discard()
        self._tell(path=self._store.path(blob.digest), written=blob.size)
        self._report("Download complete", None)

    def _is_here(self) -> bool:
        digest = self.blob.digest
        return self._store.has(digest) and self._store.stat(digest) == self.blob.size

    def _fill(self, part: Part) -> None:
        """Have the part whole and right.

        What an earlier attempt left is shown to the reader when it was found right with the
        rest; when it is wrong everything is fetched again.
        """
        if part.take_up():
            try:
                self._receive(part, shown=False)
                part.verify()
            except InvalidArchive:
                part.restart()
            else:
                return
        self._tell(path=part.path, written=0)
        self._receive(part, shown=True)
        part.verify()

    def _receive(self, part: Part, *, shown: bool) -> None:
        if part.size == part.expected:
            return
        stream = self._repository.blob(self.blob.digest, offset=part.size, urls=self.blob.urls)
        try:
            if stream.size is not None and stream.size != part.expected:
                raise InvalidArchive(
                    f"blob {self.blob.digest} has {stream.size} bytes,"
                    f" not the {part.expected} announced"
                )
            buffer = memoryview(bytearray(_STEP))
            skip = part.size - stream.offset
            while count := stream.readinto(buffer):
                data = buffer[min(skip, count) : count]
                skip -= min(skip, count)
                if self._stop.is_set():
                    raise Unavailable("given up")
                if data:
                    part.write(data)
                    if shown:
                        self._tell(written=part.size)
                    self._report("Downloading", part.size)
        finally:
            stream.close()

    def _tell(
        self,
        path: str | None = None,
        written: int | None = None,
        *,
        done: bool = False,
        error: BaseException | None = None,
    ) -> None:
        with self._changed:
            self._path = self._path if path is None else path
            self._written = self._written if written is None else written
            self._done = self._done or done
            self._error = self._error or error
            self._changed.notify_all()


class _Follower(io.RawIOBase):
    """Reads the file behind a download, never past what is written."""

    def __init__(self, download: Download) -> None:
        super().__init__()
        self._download = download
        self._position = 0
        self._fd = -1

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        path, written, _ = self._download.wait_for(self._position)
        if self._fd < 0:
            self._fd = _open(path, self._download)
        count = os.preadv(self._fd, [view[: written - self._position]], self._position)
        self._position += count
        return count

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()


def _open(path: str, download: Download) -> int:
    """Open the file; it may have got its final name between being told and now."""
    while True:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            newer, _, done = download.wait_for(-1)
            if newer == path and done:
                raise
            path = newer
