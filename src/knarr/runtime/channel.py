"""Messages between a container's first process and its parent: JSON and descriptors.

A SOCK_SEQPACKET pair keeps message boundaries and shows the other side's death
as end of file, so that neither waits for a process that is gone.
"""

import _socket
import os

from knarr.kernel import plainjson
from knarr.runtime import packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIMIT = 256 * 1024


def _parse(body: bytes, fds: "list[int]") -> "dict[str, Any]":
    """Return the object in a packet; a body in memory is taken from the head of the list."""
    if body[:1] == b"m" and fds:
        body = b"j" + packets.from_memory(fds.pop(0))
    message = plainjson.loads(body[1:]) if body[:1] == b"j" else None
    if not isinstance(message, dict):
        raise ValueError("a message is not an object")
    return message


class Channel:
    """One end of a pair; ``send`` and ``receive`` raise OSError, EOFError when the peer is gone."""

    __slots__ = ("sock",)

    def __init__(self, sock: "_socket.socket") -> None:
        self.sock = sock

    @staticmethod
    def pair() -> "tuple[Channel, Channel]":
        """Return two connected ends, both close-on-exec."""
        left, right = packets.pair()
        return Channel(left), Channel(right)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.sock.fileno()

    def send(self, message: "dict[str, Any]", fds: "list[int] | tuple[int, ...]" = ()) -> None:
        """Send one message with descriptors; a body over the limit travels in a memfd."""
        body = plainjson.dumps(message, separators=(",", ":")).encode()
        if len(body) <= LIMIT // 2:
            packets.send(self.sock, b"j" + body, list(fds))
            return
        memory = packets.in_memory(body)
        try:
            packets.send(self.sock, b"m", [memory, *fds])
        finally:
            os.close(memory)

    def receive(self) -> "tuple[dict[str, Any], list[int]]":
        """Return one message and its descriptors (close-on-exec).

        Raises EOFError when the peer is gone, ValueError for what is no message.
        """
        body, received = packets.receive(self.sock, LIMIT)
        try:
            return _parse(body, received), received
        except BaseException:
            for fd in received:
                os.close(fd)
            raise

    def close(self) -> None:
        """Close this end."""
        self.sock.close()
