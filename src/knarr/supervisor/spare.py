"""A supervisor forked ahead of time, with the process that is going to make its container.

Forking is a good part of a start. The launcher does it while nobody waits: the
pair has no container, no namespace and no name yet, and ends with the launcher.
The maker, which does not live long, has its memory ready; the supervisor, which
does, touches nothing.
"""

import _socket
import os

from knarr.kernel.memory import code, map_code, own_pages
from knarr.runtime import packets
from knarr.runtime.program import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Spare:
    """The launcher's side of a supervisor without a container."""

    __slots__ = ("pidfd", "sock")

    def __init__(self, pidfd: int, sock: "_socket.socket") -> None:
        self.pidfd = pidfd
        self.sock = sock

    def give(self, operation: bytes, run_dir: str, caller: "_socket.socket") -> bool:
        """Give it a request to carry out; False when it has died."""
        try:
            packets.send(self.sock, operation + os.fsencode(run_dir), [caller.fileno()])
        except OSError:
            return False
        finally:
            self.sock.close()
        return True


_code = code()


def wait(sock: "_socket.socket") -> "tuple[bytes, str, int] | None":
    """Return operation, run directory and connection of the request; None: none will come."""
    map_code(_code)
    try:
        packet, (caller,) = packets.receive(sock, packets.LIMIT)
    except EOFError:
        return None
    return packet[:1], os.fsdecode(packet[1:]), caller


def hand_on(maker: "_socket.socket", operation: bytes, caller: int) -> bool:
    """Give the connection of a request to the maker that stands by; False when it has died."""
    try:
        packets.send(maker, operation, [caller])
    except OSError:
        maker.close()
        return False
    return True


def tell(maker: "_socket.socket", word: bytes) -> None:
    """Say something to a maker, which may have died."""
    try:
        maker.send(word)
    except OSError:
        # Nothing comes from it then, and that is looked at next.
        return


def stand_by(sock: "_socket.socket", go: "Callable[[bytes, int], None]") -> None:
    """Be a maker that waits for the connection of its request; never returns."""
    own_pages((memory.PASSWD, memory.END))
    try:
        operation, (caller,) = packets.receive(sock, packets.LIMIT)
    except EOFError:
        os._exit(0)
    go(operation, caller)
    os._exit(0)
