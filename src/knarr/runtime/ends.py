"""Processes by their descriptors: killed, and waited for, whoever's children they are."""

import select

from knarr.kernel.lean import signal
from knarr.kernel.process import pidfd_send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK = 1000  # milliseconds


def readable(*fds: int, look: "Callable[[], None] | None" = None) -> "dict[int, int]":
    """Return which descriptors have something to read once one has: of a process, its end.

    look: called now and then while nothing happens.
    """
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    while not (found := dict(poll.poll(None if look is None else _LOOK))):
        if look is not None:
            look()
    return found


def kill(pidfd: int) -> None:
    """Kill a process, which need not be our child."""
    try:
        pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has ended, and our parent, whose child it is, has waited for it


def has_ended(pidfd: int) -> bool:
    """Return whether a process has ended, whoever's child it is."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def end(pidfd: int) -> None:
    """Kill a process and wait for its end, whoever its parent is."""
    kill(pidfd)
    readable(pidfd)
