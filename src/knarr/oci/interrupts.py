"""Signals that ask a command to end: an exception, but not where half a thing would be left."""

from knarr.kernel.lean import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal, by its number: what was begun is undone first."""


def begin() -> None:
    """Have them raise Interrupted from here on, wherever this process is."""
    for number in ENDING:
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: object) -> "NoReturn":
    del frame
    raise Interrupted(number)


def hold() -> None:
    """Let them wait until ``release``."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def release() -> None:
    """Let them come, those that have waited at once. Raises Interrupted."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
