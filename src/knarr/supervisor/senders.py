"""Lines as packets to a receiver: the journal's native protocol, or syslog's (RFC 3164, 5424).

A receiver that is full is waited for, by the relay and not here; one that is gone, or does not
take a packet, loses it, as with Docker's drivers, and the next line connects anew.
"""

import _socket
import os
import struct
import time

from knarr.supervisor.jsonfile import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.supervisor.lines import Line

_LENGTH = struct.Struct("<Q")
_BUSY = frozenset((11, 105, 115))  # EAGAIN, ENOBUFS, EINPROGRESS
_TOO_LARGE = 90  # EMSGSIZE
_ERROR, _INFORMATION = 3, 6  # severities of stderr and stdout
_KINDS = {"dgram": _socket.SOCK_DGRAM, "stream": _socket.SOCK_STREAM}
_AGAIN = 1.0  # seconds between attempts to reach a receiver that is gone
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Sender:
    """A connection to a receiver.

    config: addresses, pairs of [kind, address] that are tried in turn (an address is a path,
    or [host, port] in numbers); buffer, bytes that may wait before more are dropped, or 0: the
    container waits; and what the formats need. dropped: lines that were not delivered.
    """

    __slots__ = (
        "_buffer", "_config", "_done", "_head", "_later", "_pending", "_size", "_sock", "_tried",
        "dropped",
    )  # fmt: skip

    due = False

    def __init__(self, config: "dict[str, Any]") -> None:
        self._config = config
        self._buffer: int = config["buffer"]
        self._pending: list[bytes] = []
        self._size = self._done = 0  # bytes that wait, and of the first one that were sent
        self._later = 0.0
        self._sock: _socket.socket | None = None
        self._tried = False  # whether the first one that waits has had its new connection
        self.dropped = 0
        fields = config.get("fields") or {}
        self._head = b"".join(field(name, value.encode()) for name, value in fields.items())

    @property
    def fd(self) -> int:
        """What to wait for."""
        return -1 if self._sock is None else self._sock.fileno()

    @property
    def waiting(self) -> bool:
        """Whether the receiver has not taken everything."""
        return bool(self._pending)

    @property
    def full(self) -> bool:
        """Whether the container has to wait for the receiver."""
        return bool(self._pending) and not self._buffer

    def send(self, lines: "list[Line]") -> None:
        """Send lines, or have them wait."""
        journal = self._config["kind"] == "journal"
        busy = False
        for line in lines:
            packet = self._journal(line) if journal else _syslog(self._config, line)
            if self._buffer and self._size + len(packet) > self._buffer:
                if not busy:
                    self.flush()
                    busy = self.waiting  # then it takes none of the following either
                if busy:
                    self.dropped += 1
                    continue
            self._pending.append(packet)
            self._size += len(packet)
        self.flush()

    def flush(self) -> None:
        """Send until the receiver is full; what it does not want is dropped."""
        sent = 0
        while sent < len(self._pending):
            packet = self._pending[sent]
            try:
                if not self._send(packet):
                    break
            except OSError as error:
                self.dropped += 1
                self._done = 0
                if error.errno != _TOO_LARGE:
                    self._disconnect()
                    self._later = time.monotonic() + _AGAIN
            self._tried = False
            self._size -= len(packet)
            sent += 1
        del self._pending[:sent]

    def _send(self, packet: bytes) -> bool:
        """Send a packet, once more over a new connection; False when the receiver is full."""
        if self._sock is None:
            self._connect()
            self._tried = True
        try:
            return self._give(packet)
        except OSError as error:
            if self._tried or error.errno == _TOO_LARGE:
                raise
        self._disconnect()
        self._connect()
        self._tried = True
        return self._give(packet)

    def _give(self, packet: bytes) -> bool:
        assert self._sock is not None
        while self._done < len(packet):
            rest = packet[self._done :] if self._done else packet
            try:
                self._done += self._sock.send(rest, _socket.MSG_NOSIGNAL)
            except OSError as error:
                if error.errno in _BUSY:
                    return False
                raise
        self._done = 0
        return True

    def _connect(self) -> None:
        """Connect to the first address that answers. Raises OSError."""
        if time.monotonic() < self._later:
            raise OSError(107, "not connected")
        failure = OSError(2, "no address")
        for kind, address in self._config["addresses"]:
            try:
                self._sock = connect(kind, address)
            except OSError as error:
                failure = error
            else:
                return
        raise failure

    def _disconnect(self) -> None:
        self._done = 0
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _journal(self, line: "Line") -> bytes:
        """Return a line as a datagram of the journal: systemd's "Native Journal Protocol"."""
        stream, moment, data, part, whole, begun = line
        priority = _ERROR if stream == 2 else _INFORMATION
        fields = f"PRIORITY={priority}\nSYSLOG_TIMESTAMP={rfc3339(moment)}\n"
        if part:
            fields += (
                f"CONTAINER_PARTIAL_ID={self._config['partial']}{stream}{begun:x}\n"
                f"CONTAINER_PARTIAL_ORDINAL={part}\n"
                f"CONTAINER_PARTIAL_LAST={'true' if whole else 'false'}\n"
            )
            if not whole:
                fields += "CONTAINER_PARTIAL_MESSAGE=true\n"
        return self._head + fields.encode() + field("MESSAGE", data)

    def rotate(self) -> str:
        """There are no files."""
        return ""

    def close(self) -> None:
        """Let go of the receiver."""
        self.dropped += len(self._pending)
        self._pending.clear()
        self._disconnect()


def connect(kind: str, address: "str | list[Any]") -> "_socket.socket":
    """Return a socket without waiting, connected or about to be. Raises OSError."""
    if isinstance(address, str):
        family, where = _socket.AF_UNIX, address
    else:
        where = tuple(address)  # type: ignore[assignment]
        family = _socket.AF_INET6 if ":" in address[0] else _socket.AF_INET
    sock = _socket.socket(family, _KINDS[kind] | _socket.SOCK_CLOEXEC, 0)
    sock.setblocking(False)
    try:
        error = sock.connect_ex(where)
        if error and error not in _BUSY:
            raise OSError(error, os.strerror(error))
    except BaseException:
        sock.close()
        raise
    return sock


def field(name: str, value: bytes) -> bytes:
    """Return a field of the journal's protocol that may have any bytes."""
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + _LENGTH.pack(len(value)) + value + b"\n"


def _syslog(config: "dict[str, Any]", line: "Line") -> bytes:
    """Return a line as a syslog message, with the newline that ends it in a stream."""
    stream, moment, data, _, _, _ = line
    priority = config["facility"] << 3 | (_ERROR if stream == 2 else _INFORMATION)
    tag, host, pid = config["tag"], config["host"], os.getpid()
    form = config["format"]
    if form in ("rfc5424", "rfc5424micro"):
        stamp = _rfc5424_time(moment, micro=form == "rfc5424micro")
        head = f"<{priority}>1 {stamp} {host} {tag} {pid} {tag} - "
    else:
        when = time.localtime(moment // 1_000_000_000)
        stamp = f"{_MONTHS[when.tm_mon - 1]} {when.tm_mday:2} {time.strftime('%H:%M:%S', when)}"
        sender = f"{host} " if form == "rfc3164" else ""
        head = f"<{priority}>{stamp} {sender}{tag}[{pid}]: "
    return head.encode() + data + b"\n"


def _rfc5424_time(moment: int, *, micro: bool) -> str:
    """Return a local time with its offset, in seconds or microseconds."""
    when = time.localtime(moment // 1_000_000_000)
    offset = when.tm_gmtoff or 0
    sign = "-" if offset < 0 else "+"
    zone = f"{sign}{abs(offset) // 3600:02}:{abs(offset) // 60 % 60:02}" if offset else "Z"
    fraction = f".{moment // 1000 % 1_000_000:06}" if micro else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", when) + fraction + zone
