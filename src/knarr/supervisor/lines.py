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

    def run(self, stream: int, data: bytes) -> bytes:
        """Return the whole lines that end in a block of output as one piece.

        Nothing, and nothing is taken, when there are none or some line is too long: then
        :meth:`cut` has to look at each.
        """
        end = data.rfind(b"\n") + 1
        if not end or self._parts[stream] or len(data) - end > LIMIT:
            return b""
        found = self._rests[stream] + data[:end]
        at = 0
        while at < len(found):
            at = found.rfind(b"\n", at, at + LIMIT + 1) + 1
            if not at:
                return b""
        self._rests[stream] = data[end:]
        return found

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
