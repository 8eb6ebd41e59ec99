"""``WideStream``: a large blob over several connections at once.

A server, or the way to it, often gives one connection less than there is. So a blob begins to come
over one, which is watched; if that is slow, and much is left, the rest is asked for in pieces over
some more. What is read comes in its order all the same: pieces that are ahead wait in memory, of
which there is a bound. So who reads need not know, and what has come is a beginning of the blob,
with which a later attempt goes on. Where several connections do not do, one is tried again.

    first   |======piece 0======|                     then closed
    lane 1                      |======piece 1======||======piece 4==
    lane 2                      .                    |======piece 2======|
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from knarr.errors import InvalidArchive, KnarrError, Unavailable
from knarr.registry.blobs import BlobStream

_MIB = 1024 * 1024
_STEP = 256 * 1024
# Opens the blob at an offset, up to an end if one is given.
Open = Callable[[int, int | None], BlobStream]


@dataclass(frozen=True, slots=True)
class Width:
    """When a blob comes over several connections, and how. Sizes in bytes.

    lanes: connections for one blob. extra: those beyond the first, of all blobs of one registry.
    piece: what a lane asks for at a time. look: bytes by which the first connection is judged;
    fast: bytes a second with which it is left alone. least: what has to be left then.
    nearby: also from this machine, where more connections only cost.
    """

    lanes: int = 4
    extra: int = 6
    piece: int = 8 * _MIB
    look: int = 4 * _MIB
    fast: float = 64.0 * _MIB
    least: int = 24 * _MIB
    nearby: bool = False


class WideStream:
    """A download as ``BlobStream`` is one; close it. Not to be shared between threads.

    offset, size: as there. Nothing is verified here.
    """

    def __init__(self, begin: Open, offset: int, width: Width, spare: threading.Semaphore) -> None:
        """spare: counts the connections beyond the first that may be made."""
        self._begin = begin
        self._width = width
        self._spare = spare
        self._stream = begin(offset, None)
        self.offset = self._stream.offset
        self.size = self._stream.size
        self._position = self.offset
        self._waited = 0.0
        self._judged = False
        self._lanes: _Lanes | None = None

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill the buffer and return how many bytes it got; errors as of ``BlobStream``."""
        if self._lanes is not None:
            try:
                count = self._lanes.readinto(buffer)
            except (KnarrError, OSError, _Whole):  # it has the last word that is asked as always
                self._one_again(self._lanes)
            else:
                self._position += count
                return count
        began = time.monotonic()
        count = self._stream.readinto(buffer)
        self._position += count
        if not self._judged:
            self._waited += time.monotonic() - began
            self._judge()
        return count

    def read(self, limit: int) -> bytes:
        """Return the next bytes, up to ``limit``; b"" at the end; errors as ``readinto``."""
        buffer = bytearray(limit)
        return bytes(buffer[: self.readinto(buffer)])

    def close(self) -> None:
        """Give the connections back or end them."""
        if self._lanes is not None:
            self._lanes.close()
        else:
            self._stream.close()

    def _judge(self) -> None:
        """Have more connections when the first has shown that it is slow."""
        came, width = self._position - self.offset, self._width
        if came < width.look:
            return
        self._judged = True
        stream, size = self._stream, self.size
        if size is None or size - self._position < width.least or not stream.gives_parts:
            return
        if came >= width.fast * self._waited or (stream.is_near and not width.nearby):
            return
        others = 0
        while others < width.lanes - 1 and self._spare.acquire(blocking=False):
            others += 1
        if others:
            self._lanes = _Lanes(self._begin, self._position, size, width.piece)
            self._lanes.start(stream, others, self._spare)

    def _one_again(self, lanes: _Lanes) -> None:
        lanes.close()
        self._lanes = None
        self._stream = self._begin(self._position, None)
        skip = self._position - self._stream.offset
        buffer = memoryview(bytearray(_STEP))
        while skip and (count := self._stream.readinto(buffer[:skip])):
            skip -= count


class _Whole(Exception):
    """The server sent the blob from its beginning."""


class _Piece:
    """A part of the blob on its way: filled by its lane, and behind that read."""

    __slots__ = ("begin", "data", "end", "error", "filled", "read")

    def __init__(self, begin: int, end: int) -> None:
        self.begin = begin
        self.end = end
        self.data = bytearray(end - begin)
        self.filled = 0
        self.read = 0
        self.error: Exception | None = None


class _Lanes:
    """The pieces of one blob and the threads that bring them."""

    def __init__(self, begin: Open, position: int, size: int, length: int) -> None:
        self._begin = begin
        self._size = size
        self._length = length
        self._next = position
        self._pieces: deque[_Piece] = deque()  # in order; those that are read to their end are gone
        self._most = 0
        self._changed = threading.Condition()
        self._closed = False
        self._failed = False

    def start(self, stream: BlobStream, others: int, spare: threading.Semaphore) -> None:
        """Begin: the first piece comes over the connection that there is, then it is closed."""
        self._most = others + 2  # one for each lane, and one that is being read
        first, *rest = [self._claim() for _ in range(others + 1)]
        self._run(first, stream, lambda: None)
        for piece in rest:
            self._run(piece, None, spare.release)

    def _run(
        self, piece: _Piece | None, stream: BlobStream | None, leave: Callable[[], None]
    ) -> None:
        threading.Thread(
            target=self._work, args=(piece, stream, leave), name="lane", daemon=True
        ).start()

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill the buffer with what comes next; less only at the end. Raises what a lane raised."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (piece := self._front(can_raise=not done)) is not None:
            count = min(piece.filled - piece.read, len(view) - done)
            view[done : done + count] = memoryview(piece.data)[piece.read : piece.read + count]
            piece.read += count
            done += count
            if piece.read == len(piece.data):
                with self._changed:
                    self._pieces.popleft()
                    self._changed.notify_all()
        return done

    def close(self) -> None:
        """Have the threads end with the bytes that they are waiting for."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _front(self, *, can_raise: bool) -> _Piece | None:
        """Return the piece that is read next once there are bytes of it, None at the end.

        Also None instead of raising when the caller has bytes to give away first.
        """
        with self._changed:
            while True:
                if self._pieces:
                    piece = self._pieces[0]
                    if piece.filled > piece.read:
                        return piece
                    if piece.error is not None:
                        if can_raise:
                            raise piece.error
                        return None
                elif self._next >= self._size:
                    return None
                self._changed.wait()

    def _work(
        self, piece: _Piece | None, stream: BlobStream | None, leave: Callable[[], None]
    ) -> None:
        """Bring pieces until there are no more. stream: open at the first one's beginning."""
        try:
            while piece is not None:
                try:
                    self._fill(piece, stream or self._opened(piece))
                except Exception as error:  # of any kind: who reads is told
                    with self._changed:
                        piece.error = error
                        self._failed = True
                        self._changed.notify_all()
                stream = None
                piece = self._claim()
        finally:
            leave()

    def _claim(self) -> _Piece | None:
        """Return the next piece when there is room for it, None when there is no more to do.

        After a failure the others bring what they have begun: what is before it can be read.
        """
        with self._changed:
            while True:
                if self._closed or self._failed or self._next >= self._size:
                    return None
                if len(self._pieces) < self._most:
                    break
                self._changed.wait()
            piece = _Piece(self._next, min(self._next + self._length, self._size))
            self._next = piece.end
            self._pieces.append(piece)
            return piece

    def _opened(self, piece: _Piece) -> BlobStream:
        stream = self._begin(piece.begin, piece.end)
        if stream.offset != piece.begin:
            stream.close()
            raise _Whole
        return stream

    def _fill(self, piece: _Piece, stream: BlobStream) -> None:
        view = memoryview(piece.data)
        try:
            while piece.filled < len(view):
                if self._closed:
                    raise Unavailable("given up")
                count = stream.readinto(view[piece.filled : piece.filled + _STEP])
                if not count:
                    raise InvalidArchive(f"a blob ends at byte {piece.begin + piece.filled}")
                with self._changed:
                    piece.filled += count
                    self._changed.notify_all()
        finally:
            stream.close()
