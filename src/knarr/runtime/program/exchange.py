"""What a process and its maker say to one another over the channel, as operations.

A process that waits reads one byte. One that asks has the maker make what takes reading links,
which operations cannot, and goes on when it has tried.
"""

from knarr.runtime.program.builder import Builder, Label
from knarr.runtime.program.memory import ANSWER, BYTE, CHANNEL, POLL, QUESTION, Cell

READY = b"r"
# What is missing at the path whose address is in QUESTION: a directory, or an empty file.
DIRECTORY_MISSING, FILE_MISSING = b"d", b"f"

_POLLIN = 1
_EVENTS = 4  # struct pollfd: events, and revents in the upper half


def wait(b: Builder, status: int, poll: int = POLL, channel: Cell = CHANNEL) -> None:
    """Wait for a byte from the parent; end with ``status`` when that is gone.

    The other end of the channel may be open in this very process, so that the
    parent's end has to be looked for itself.
    """
    go, gone = Label(), Label()
    b.call("ppoll", poll, 2, None, None, 0, orelse=gone)
    b.test(poll + _EVENTS, _POLLIN << 16, _POLLIN << 16, orelse=gone)
    b.call("read", channel, BYTE, 1, orelse=gone)
    b.jump(go)
    b.place(gone)
    b.call("exit_group", status)
    b.place(go)


def ask(b: Builder, question: bytes, path: str) -> None:
    """Have the maker make what is missing at a path in the root, and wait until it has tried.

    The gate may have been opened ahead: then the first byte is the gate's, and the maker sends
    another for it.
    """
    answered = Label()
    b.set(ANSWER, 0)
    b.set(QUESTION, path)
    b.call("write", CHANNEL, question, 1)
    wait(b, 1)
    b.test(ANSWER, 0xFFFFFFFF, 0, orelse=answered)
    wait(b, 1)
    b.place(answered)
