"""A container's output as lines, as log drivers want it: cut at 16 KiB, where Docker cuts too."""

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    # One line, or a part of one: its stream, time and data; 0, or as a part its number from 1;
    # whether it ended with a newline; the time of the first part.
    Line = tuple[int, int, bytes, int, bool, int]

LIMIT = 16384


class Lines:
    """Cuts what comes in blocks, for each stream: what a line lacks yet, its parts, their begin."""

    __slots__ = ("_begun", "_parts", "_rests")

    def __init__(self) -> None:
        self._rests = {1: b"", 2: b""}
        self._parts = {1: 0, 2: 0}
        self._begun = {1: 0, 2: 0}

    def cut(self, stream: int, data: bytes) -> "list[Line]":
        """Return the lines that end in a block of output, and parts of one that is too long."""
        now = time.time_ns()
        pieces = (self._rests[stream] + data).split(b"\n")
        rest = pieces.pop()
        found: list[Line] = []
        for piece in pieces:
            if self._parts[stream] or len(piece) > LIMIT:
                last = self._overlong(found, stream, now, piece)
                self._part(found, stream, now, last, whole=True)
                self._parts[stream] = 0
            else:
                found.append((stream, now, piece, 0, True, now))
        self._rests[stream] = self._overlong(found, stream, now, rest)
        return found

    def pieces(self, stream: int, data: bytes) -> "list[bytes | list[Line]]":
        """Return the same, but lines that end together and are not too long as one piece."""
        found: list[bytes | list[Line]] = []
        while data:
            end = self._whole(stream, data)
            if end:
                found.append(self._rests[stream] + data[:end])
                self._rests[stream] = b""
            else:
                end = data.find(b"\n") + 1 or len(data)
                if lines := self.cut(stream, data[:end]):
                    found.append(lines)
            data = data[end:]
        return found

    def _whole(self, stream: int, data: bytes) -> int:
        """Return how far lines go in a block, from its beginning, that end and are not too long."""
        if self._parts[stream]:
            return 0
        at = data.rfind(b"\n", 0, LIMIT + 1 - len(self._rests[stream])) + 1
        further = at
        while further and at < len(data):
            further = data.rfind(b"\n", at, at + LIMIT + 1) + 1
            at = further or at
        return at

    def rest(self) -> "list[Line]":
        """Return what the streams ended with, without a newline."""
        now = time.time_ns()
        found: list[Line] = []
        for stream, data in self._rests.items():
            if data:
                self._part(found, stream, now, data, whole=False)
        self._rests = {1: b"", 2: b""}
        return found

    def _overlong(self, found: "list[Line]", stream: int, now: int, piece: bytes) -> bytes:
        """Add the parts of a piece that are full; return what is left."""
        while len(piece) > LIMIT:
            self._part(found, stream, now, piece[:LIMIT], whole=False)
            piece = piece[LIMIT:]
        return piece

    def _part(
        self, found: "list[Line]", stream: int, now: int, data: bytes, *, whole: bool
    ) -> None:
        if not self._parts[stream]:
            self._begun[stream] = now
        self._parts[stream] += 1
        found.append((stream, now, data, self._parts[stream], whole, self._begun[stream]))
