"""A blob that comes from upstream and goes to clients while it comes.

One download serves all who want the blob. It is a ``content.parts`` part: what came stays when
the upstream, or this server, ends in the middle, and goes on from there. Clients read the file
as it grows; its last bytes they get when the whole was verified and is kept, so that none ends
up with all bytes of a wrong blob.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

from knarr.content.parts import Part, open_part
from knarr.content.store import ContentStore
from knarr.errors import InvalidArchive, KnarrError
from knarr.registry.repository import Repository
from knarr.web.message import Disconnected, Stream

_ROOM = 256 * 1024
_HELD_BACK = 64 * 1024


class Ended(Exception):
    """The download is over: what it brought is found under its digest."""


class Download:
    """One blob on its way. ``size`` is that of the whole."""

    def __init__(
        self,
        store: ContentStore,
        repository: Repository,
        digest: str,
        publish: Callable[[Part], None],
    ) -> None:
        """Ask upstream for it. publish: gives the part its name when it is whole.

        Raises what the registry refuses, InvalidArchive, OSError.
        """
        self._publish = publish
        self._changed = threading.Condition()
        self._came = 0
        self._kept = False
        self._error: BaseException | None = None
        stream = repository.blob(digest)
        try:
            if stream.size is None:
                raise InvalidArchive(f"blob {digest} of {repository}: its size is not told")
            self.size = stream.size
            part = open_part(store, digest, self.size)
            if part is None:
                raise InvalidArchive(f"blob {digest}: another process brings it")
        except BaseException:
            stream.close()
            raise
        self._path = part.path
        self._repository = repository
        self._part, self._stream = part, stream
        # Opened while the file surely has this name.
        self._file = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)

    def run(self) -> None:
        """Bring all of it; never raises, who waits is told."""
        error: BaseException | None = None
        try:
            with self._part as part:
                self._bring(part)
                self._publish(part)
        except Exception as found:  # of any kind: clients wait for it
            error = found
        finally:
            self._stream.close()
        with self._changed:
            self._error, self._kept = error, error is None
            self._changed.notify_all()

    def _bring(self, part: Part) -> None:
        there = part.take_up()
        if 0 < there < self.size:
            self._stream.close()
            self._stream = self._repository.blob(part.digest, offset=there)
            if self._stream.offset != there:
                part.restart()
        self._advance(part.size)
        room = memoryview(bytearray(_ROOM))
        while part.size < self.size and (count := self._stream.readinto(room)):
            part.write(room[:count])
            self._advance(part.size)
        part.verify()

    def _advance(self, size: int) -> None:
        with self._changed:
            self._came = size
            self._changed.notify_all()

    def error(self) -> KnarrError | None:
        """Return why it failed, if it did."""
        with self._changed:
            return self._error if isinstance(self._error, KnarrError) else None

    def part(self, offset: int, count: int) -> Stream:
        """Return a body of so many bytes from an offset on, as they come. Raises Ended."""
        with self._changed:
            if self._file < 0:
                raise Ended
            file = os.dup(self._file)
        return Stream(count, _Reader(self, file, offset, count))

    def wait_beyond(self, offset: int) -> int:
        """Return how many bytes may be read, once that is beyond an offset. Raises Disconnected."""
        with self._changed:
            while True:
                if self._error is not None:
                    raise Disconnected(f"a download failed: {self._error}")
                there = self.size if self._kept else min(self._came, self.size - _HELD_BACK)
                if there > offset:
                    return there
                self._changed.wait()

    def close(self) -> None:
        """Close the file, which later clients find under its digest."""
        with self._changed:
            os.close(self._file)
            self._file = -1


class _Reader:
    """Pieces of a file that grows; it holds a descriptor until it is closed."""

    def __init__(self, download: Download, file: int, offset: int, count: int) -> None:
        self._download = download
        self._file = file
        self._offset = offset
        self._end = offset + count

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._offset >= self._end:
            raise StopIteration
        there = min(self._download.wait_beyond(self._offset), self._end)
        data = os.pread(self._file, min(there - self._offset, _ROOM), self._offset)
        if not data:
            raise Disconnected("a download began anew")
        self._offset += len(data)
        return data

    def close(self) -> None:
        """Close the file; harmless to repeat."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
