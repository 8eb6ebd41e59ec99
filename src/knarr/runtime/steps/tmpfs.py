"""A tmpfs that nobody has given a mode: it has that of the directory that it covers.

So do other runtimes: a temporary directory of the image stays one that everybody can use.
"""

import errno

from knarr.runtime.program.builder import Builder, Label
from knarr.runtime.program.memory import MODE, Cell
from knarr.runtime.program.paths import (
    DIRECTORY,
    ensure_directory,
    mode_text,
    open_in_root,
    status,
)
from knarr.runtime.steps.mounts import NewMount

_OWN = int.from_bytes(b"1777", "little")  # what a tmpfs has by itself (tmpfs(5)), as text


class LikeBelow(NewMount):
    """Mount a tmpfs with the mode of what is there; where nothing is, with its usual one."""

    __slots__ = ()
    _inherits = True

    def _reach(self, b: Builder, out: Cell) -> None:
        missing, there = Label(), Label()
        b.set(Cell(MODE), _OWN)
        open_in_root(b, self.destination, out, DIRECTORY, orelse=missing, errors=(errno.ENOENT,))
        status(b, out)
        mode_text(b)
        b.jump(there)
        b.place(missing)
        ensure_directory(b, self.destination, out, asks=True)
        b.place(there)
