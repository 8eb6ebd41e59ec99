"""One blob from a registry to the store, readable while it comes.

    registry --> digest --> part of the store --> (whole and right) --> blob, or nothing
                                |                                       where its tar is kept
                                +--> whoever unpacks it, some bytes behind

The reader gets its end only after the digest was found right, so that what is made of the
bytes can be thrown away before anybody sees it.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from knarr.closing import Closing
from knarr.content import parts
from knarr.content.parts import Part
from knarr.content.store import ContentStore
from knarr.errors import InvalidArchive, KnarrError, Unavailable
from knarr.images import tars
from knarr.images.descriptor import Descriptor

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from knarr.registry.repository import Repository

Read = TypeVar("Read")
_STEP = 1024 * 1024
# Seconds between two looks at a blob that another process brings in.
_LOOK = 0.2


class Download(Closing):
    """A blob on its way; ``run`` brings it in, ``reader`` follows it from other threads.

    stop: when it is set, nothing is waited for any more. report: is told (state, bytes).
    tar: the digest of a layer's tar, which may come to stand for the blob: then it becomes no blob
    before ``settle`` says so. attempt: is counted up when what a reader had was wrong and other
    bytes come, from elsewhere.
    """

    def __init__(
        self,
        store: ContentStore,
        repository: Repository,
        blob: Descriptor,
        stop: threading.Event,
        report: Callable[[str, int | None], None],
        tar: str | None = None,
    ) -> None:
        self.blob = blob
        self._store = store
        self._repository = repository
        self._stop = stop
        self._report = report
        self._tar = tar
        self._changed = threading.Condition()
        self._part: Part | None = None
        self._fd = -1
        self._written = 0
        self._done = False
        self._error: BaseException | None = None
        self.attempt = 0

    def run(self) -> None:
        """Have the blob here, whole and right; returns at once when it is.

        Raises what the registry refuses, InvalidArchive for wrong bytes, OSError.
        """
        try:
            self._bring()
        except BaseException as error:
            self._tell(error=error)
            raise
        self._tell(done=True)

    def reader(self) -> BinaryIO:
        """Return the blob as a stream that waits for bytes that are still to come.

        Reading raises Unavailable when they do not come.
        """
        return io.BufferedReader(_Follower(self), _STEP)

    def is_kept_as_tar(self) -> bool:
        """Return whether somebody else has brought the layer, and only its tar is here.

        Waits until that is known. Raises Unavailable when the download has failed.
        """
        with self._changed:
            while self._fd < 0 and not self._done:
                self._wait()
            return self._fd < 0

    def read_again(self, read: Callable[[], Read]) -> Read:
        """Return what ``read`` makes of the blob as it comes; done again when that was wrong.

        Raises what ``read`` raises, Unavailable when the download has failed; that error says why.
        """
        while True:
            attempt = self.attempt
            try:
                return read()
            except (KnarrError, OSError) as error:
                if self._came_anew(attempt):
                    continue
                if self._error is not None:
                    raise Unavailable(f"blob {self.blob.digest[:19]} did not arrive") from error
                raise

    def _came_anew(self, attempt: int) -> bool:
        """Return whether the bytes of an attempt were wrong, and others come or are here.

        Waits until that is known, where they came from a mirror: of others it is never so.
        """
        with self._changed:
            while self.attempt == attempt and not self._done and self._error is None:
                if not self._repository.is_mirrored(self.blob.digest):
                    return False
                self._changed.wait()
            return self.attempt != attempt

    def wait_for(self, position: int, attempt: int) -> int:
        """Return how many bytes there are, once these are more than ``position`` or all.

        All are there only when they are right. Raises Unavailable when the download has failed, and
        that error says why, or when the bytes are others than at that attempt.
        """
        with self._changed:
            while self._written <= position and not self._done and self.attempt == attempt:
                self._wait()
            if self.attempt != attempt:
                raise Unavailable(f"blob {self.blob.digest[:19]} comes anew")
            return self._written

    def opened(self) -> int:
        """Return a descriptor of the file that it is written to, of the caller's own."""
        with self._changed:
            # A duplicate would hold the part's lock, too.
            return os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)

    def settle(self, *, publish: bool) -> None:
        """Have it as a blob, or drop it, where that was left open, once it is whole and right.

        Raises Unavailable when the download has failed, OSError.
        """
        with self._changed:
            while not self._done:
                self._wait()
        if self._part is not None and self._tar is not None:
            self._part.settle(publish=publish)
        self.close()

    def close(self) -> None:
        """Let go of its file; what has come stays for the next attempt."""
        with self._changed:
            if self._part is not None:
                self._part.close()
            elif self._fd >= 0:
                os.close(self._fd)
            self._part, self._fd = None, -1

    def _wait(self) -> None:
        if self._error is not None:
            raise Unavailable(f"blob {self.blob.digest[:19]} did not arrive")
        self._changed.wait()

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
        if part is not None and self._is_here():  # finished between our look and our lock
            part.discard()
            part = None
        if part is None:
            self._take_stored()
        else:
            self._part = part
            self._fill(part)
            self._report("Verifying Checksum", None)
            if self._tar is None:
                part.commit()
            else:
                part.let_go()
        self._report("Download complete", None)

    def _take_stored(self) -> None:
        """Have the blob's file to read, unless the layer is kept as its tar."""
        if self._tar is not None and tars.of(self._store, self.blob.digest) == self._tar:
            return
        with self._store.open(self.blob.digest) as file:
            self._tell(fd=os.dup(file.fileno()), written=self.blob.size)

    def _is_here(self) -> bool:
        digest = self.blob.digest
        if self._tar is not None and tars.of(self._store, digest) == self._tar:
            return True
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
                self._tell(fd=part.fileno(), written=part.size)
                return
        self._tell(fd=part.fileno(), written=0)
        self._repository.right(
            self.blob.digest, lambda: self._receive_right(part), lambda: self._begin_anew(part)
        )

    def _receive_right(self, part: Part) -> None:
        self._receive(part, shown=True)
        part.verify()

    def _begin_anew(self, part: Part) -> None:
        """Drop what a mirror gave, and have its readers know."""
        with self._changed:
            self.attempt += 1
            self._written = 0
            self._changed.notify_all()
        part.restart()

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
        fd: int | None = None,
        written: int | None = None,
        *,
        done: bool = False,
        error: BaseException | None = None,
    ) -> None:
        with self._changed:
            self._fd = self._fd if fd is None else fd
            self._written = self._written if written is None else written
            self._done = self._done or done
            self._error = self._error or error
            self._changed.notify_all()


class _Follower(io.RawIOBase):
    """Reads the file behind a download, never past what is written."""

    def __init__(self, download: Download) -> None:
        super().__init__()
        self._download = download
        self._attempt = download.attempt
        self._position = 0
        self._fd = -1

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        written = self._download.wait_for(self._position, self._attempt)
        if self._fd < 0:
            self._fd = self._download.opened()
        count = os.preadv(self._fd, [view[: written - self._position]], self._position)
        self._position += count
        return count

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()
