"""A supervisor forked ahead of time, with the process that is going to make its container.

Forking is a good part of a start. The launcher does it while nobody waits: the
pair has no container, no namespace and no name yet, and ends with the launcher.
The maker, which does not live long, has its memory ready; the supervisor, which
does, touches nothing.
"""

import _socket
import os
import select

from knarr.kernel.memory import code, map_code, own_pages
from knarr.runtime import keeper, packets
from knarr.runtime.program import memory
from knarr.supervisor import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.runtime.keeper import Keeper


class Spare:
    """The launcher's side of a supervisor without a container and of its maker.

    pidfd: of the supervisor. sock, maker: connections to both.
    """

    __slots__ = ("maker", "pidfd", "sock")

    def __init__(self, pidfd: int, sock: "_socket.socket", maker: "_socket.socket") -> None:
        self.pidfd = pidfd
        self.sock = sock
        self.maker = maker

    def give(self, operation: bytes, run_dir: str, caller: "_socket.socket") -> bool:
        """Give it a request to carry out; False when it has died.

        A maker that has died is noticed by the supervisor, which gets the request too.
        """
        try:
            packets.send(self.sock, operation + os.fsencode(run_dir), [caller.fileno()])
        except OSError:
            return False
        else:
            if operation in _MADE:
                hand_on(self.maker, operation, caller.fileno())
        finally:
            self.close()
        return True

    def close(self) -> None:
        """Let go of both, which end when they have nothing to do."""
        self.sock.close()
        self.maker.close()


# What the process does that has its memory ready; the supervisor does the rest itself.
_MADE = (*wire.RUNS, wire.EXEC)
_code = code()


def wait(sock: "_socket.socket") -> "tuple[bytes, str, int] | None":
    """Return operation, run directory and connection of the request; None: none will come."""
    map_code(_code)
    try:
        packet, (caller,) = packets.receive(sock, packets.LIMIT)
    except EOFError:
        return None
    return packet[:1], os.fsdecode(packet[1:]), caller


def hand_on(maker: "_socket.socket", operation: bytes, caller: int) -> None:
    """Give the connection of a request to a maker that stands by, or has died."""
    try:
        packets.send(maker, operation, [caller])
    except OSError:
        return  # it has not taken the request: see ``tell``


def tell(maker: "_socket.socket", word: bytes) -> bool:
    """Say something to a maker; False when it has died."""
    try:
        maker.send(word)
    except OSError:
        return False
    return True


def has_gone(sock: "_socket.socket") -> bool:
    """Return whether the process at the other end has ended, or let go of it."""
    poll = select.poll()
    poll.register(sock.fileno(), 0)
    return bool(poll.poll(0))


def stand_by(
    sock: "_socket.socket",
    go: "Callable[[bytes, int, Keeper | None], None]",
    *,
    keep: bool,
) -> None:
    """Be a maker that waits for the connection of its request; never returns.

    keep: the container probably has all namespaces of its own, so they are made now.
    """
    own_pages((memory.PASSWD, memory.END))
    held = keeper.make() if keep else None
    try:
        operation, (caller,) = packets.receive(sock, packets.LIMIT)
    except EOFError:
        os._exit(0)
    go(operation, caller, held)
    os._exit(0)
