"""Attached clients of a supervisor: who gets the container's output and sends its input.

Packets are one type byte and a payload (SOCK_SEQPACKET). To a client: ``s``
hello (JSON), ``o`` and ``e`` output, ``w`` bytes of input consumed (text),
``x`` the exit (JSON, last). From a client: ``i`` input, ``c`` end of input,
``r`` [rows, columns], ``k`` a signal number, ``h`` that it was paused or goes on, of one
whose health is checked, ``m`` that its memory is limited now, ``q`` exit acknowledged.

A slow client is never waited for: it falls behind, and what it missed is sent
from the log when it reads again, so that the log is the only buffer.
"""

import _socket

from knarr.supervisor.log import read_record, record_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.supervisor.log import LogWriter

_TAGS = {1: b"o", 2: b"e"}
PACKET = 65536 + 1
_FULL = frozenset((11, 105))  # EAGAIN, ENOBUFS


class Client:
    """One attached connection.

    fd: its descriptor, also after closing. owner: the container must not outlive it.
    behind: offset in the log of what it has to get next, or -1. armed: whether the
    loop waits for it to become writable.
    """

    __slots__ = (
        "armed",
        "behind",
        "fd",
        "open",
        "owner",
        "pending",
        "sock",
    )

    def __init__(self, sock: "_socket.socket", owner: bool = False) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.fd = sock.fileno()
        self.armed = False
        self.owner = owner
        self.open = True
        self.behind = -1
        self.pending: list[bytes] = []

    @property
    def waiting(self) -> bool:
        """Whether something has to be sent as soon as the client reads."""
        return self.open and (self.behind >= 0 or bool(self.pending))

    def output(self, stream: int, data: bytes, log: "LogWriter | None", offset: int) -> None:
        """Send output that begins at ``offset`` of the log, or fall behind."""
        if not self.open or self.behind >= 0:
            return
        if self.pending or not self._send(_TAGS[stream] + data):
            if log is None:
                self.pending.append(_TAGS[stream] + data)
            else:
                self.behind = offset

    def control(self, tag: bytes, payload: bytes) -> None:
        """Send a packet after all output that came before it."""
        if not self.open:
            return
        if self.waiting or not self._send(tag + payload):
            self.pending.append(tag + payload)

    def catch_up(self, log: "LogWriter | None") -> None:
        """Send what is outstanding until the client is full again or has everything."""
        if self.behind >= 0 and log is not None:
            while self.open and self.behind < log.size:
                record = read_record(log.fd, self.behind)
                if record is None or not self._send(_TAGS.get(record[0], b"o") + record[2]):
                    return
                self.behind += record_size(len(record[2]))
            self.behind = -1
        while self.open and self.pending and self._send(self.pending[0]):
            del self.pending[0]

    def _send(self, packet: bytes) -> bool:
        try:
            self.sock.send(packet, _socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno in _FULL:
                return False
            self.close()
        return True

    def receive(self) -> "bytes | None":
        """Return the next packet, b"" when the client has gone or sent too much, else None."""
        try:
            packet, _, flags, _ = self.sock.recvmsg(PACKET)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        # Half of a packet would be input that silently lacks its end.
        return b"" if flags & _socket.MSG_TRUNC else packet

    def close(self) -> None:
        """Let go of the client."""
        self.open = False
        self.sock.close()
