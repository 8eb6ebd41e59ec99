"""A D-Bus client for the few calls that systemd needs: marshalling, authentication, calls.

D-Bus specification 0.43, "Type System", "Message Protocol", "Authentication Protocol".
Blocking, one connection, no proxies; ``_socket`` instead of ``socket`` for its import time.
"""

import errno
import os
import struct
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

# alignment and struct letter of the types of fixed size; booleans are 32 bits wide
FIXED = {
    "y": (1, "B"), "b": (4, "I"), "n": (2, "h"), "q": (2, "H"), "i": (4, "i"), "u": (4, "I"),
    "x": (8, "q"), "t": (8, "Q"), "d": (8, "d"), "h": (4, "I"),
}  # fmt: skip
ALIGNMENT = {"s": 4, "o": 4, "g": 1, "a": 4, "v": 1, "(": 8, "{": 8}
CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, _SENDER, SIGNATURE = range(1, 9)
HEADER_TYPES = {PATH: "o", INTERFACE: "s", MEMBER: "s", DESTINATION: "s", SIGNATURE: "g"}
# The specification allows 128 MiB; an answer of systemd has some hundred bytes.
MESSAGE_LIMIT = 1 << 20
ARRAY_LIMIT = 1 << 26


class DBusError(OSError):
    """The peer answered a call with an error; ``name`` is its D-Bus name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(errno.EIO, f"{text or name} ({name})")
        self.name = name


def end_of_type(signature: str, start: int) -> int:
    """Return the index after the single complete type at start; ValueError when it is none."""
    try:
        code = signature[start]
        if code == "a":
            return end_of_type(signature, start + 1)
        if code in "({":
            close, at = {"(": ")", "{": "}"}[code], start + 1
            while signature[at] != close:
                at = end_of_type(signature, at)
            return at + 1
    except IndexError:
        raise ValueError(f"signature {signature!r} ends too early") from None
    if code not in FIXED and code not in "sogv":
        raise ValueError(f"signature {signature!r}: unknown type {code!r}")
    return start + 1


def split(signature: str) -> list[str]:
    """Return the single complete types of a signature."""
    types, at = [], 0
    while at < len(signature):
        end = end_of_type(signature, at)
        types.append(signature[at:end])
        at = end
    return types


class Writer:
    """Marshals values, little-endian; alignment counts from the start of ``data``."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, size: int) -> None:
        """Go on to the next multiple of size."""
        self.data += bytes(-len(self.data) % size)

    def put(self, kind: str, value: "Any") -> None:
        """Append one value of a single complete type; a variant is (type, value)."""
        code = kind[0]
        if code in FIXED:
            size, letter = FIXED[code]
            self.align(size)
            self.data += struct.pack(f"<{letter}", value)
        elif code in "so":
            data = value.encode()
            self.put("u", len(data))
            self.data += data + b"\0"
        elif code == "g":
            self.data += bytes((len(value),)) + value.encode() + b"\0"
        elif code == "v":
            self.put("g", value[0])
            self.put(value[0], value[1])
        elif code == "a":
            self._array(kind[1:], value)
        else:
            self.align(8)
            for one, part in zip(split(kind[1:-1]), value, strict=True):
                self.put(one, part)

    def _array(self, kind: str, value: "Any") -> None:
        self.put("u", 0)
        length_at = len(self.data) - 4
        self.align(FIXED[kind[0]][0] if kind[0] in FIXED else ALIGNMENT[kind[0]])
        start = len(self.data)
        if kind == "y":
            self.data += bytes(value)
        else:
            for part in value.items() if isinstance(value, dict) else value:
                self.put(kind, part)
        struct.pack_into("<I", self.data, length_at, len(self.data) - start)


class Reader:
    """Unmarshals values; ``order`` is ``<`` or ``>``. ValueError for malformed data."""

    __slots__ = ("at", "data", "order")

    def __init__(self, data: bytes, order: str = "<") -> None:
        self.data = data
        self.at = 0
        self.order = order

    def align(self, size: int) -> None:
        """Go on to the next multiple of size."""
        self.at += -self.at % size

    def _take(self, size: int) -> bytes:
        data = self.data[self.at : self.at + size]
        if len(data) != size:
            raise ValueError("D-Bus message ends too early")
        self.at += size
        return data

    def get(self, kind: str) -> "Any":
        """Return the next value of a single complete type; a variant gives its value alone."""
        code = kind[0]
        if code in FIXED:
            size, letter = FIXED[code]
            self.align(size)
            (value,) = struct.unpack(self.order + letter, self._take(size))
            return bool(value) if code == "b" else value
        if code in "sog":
            length = self.get("y" if code == "g" else "u")
            return self._take(length + 1)[:-1].decode()
        if code == "v":
            return self.get(self.get("g"))
        if code == "a":
            return self._array(kind[1:])
        self.align(8)
        return tuple(self.get(one) for one in split(kind[1:-1]))

    def _array(self, kind: str) -> "Any":
        length = self.get("u")
        if length > ARRAY_LIMIT:
            raise ValueError("D-Bus array is too long")
        self.align(FIXED[kind[0]][0] if kind[0] in FIXED else ALIGNMENT[kind[0]])
        end = self.at + length
        found = []
        while self.at < end:
            found.append(self.get(kind))
        return dict(found) if kind[0] == "{" else found


class Message:
    """A received message: kind, header fields by number, body values."""

    __slots__ = ("body", "fields", "kind")

    def __init__(self, kind: int, fields: "dict[int, Any]", body: "tuple[Any, ...]") -> None:
        self.kind = kind
        self.fields = fields
        self.body = body


def encode_call(
    serial: int, destination: str | None, target: tuple[str, str, str], signature: str, *body: "Any"
) -> bytes:
    """Return a method call; target is (object path, interface, method)."""
    content = Writer()
    for kind, value in zip(split(signature), body, strict=True):
        content.put(kind, value)
    fields: list[tuple[int, str | None]] = [
        (PATH, target[0]),
        (INTERFACE, target[1]),
        (MEMBER, target[2]),
        (DESTINATION, destination),
        (SIGNATURE, signature or None),
    ]
    message = Writer()
    message.data += struct.pack("<cBBBII", b"l", CALL, 0, 1, len(content.data), serial)
    message.put("a(yv)", [(n, (HEADER_TYPES[n], text)) for n, text in fields if text])
    message.align(8)
    return bytes(message.data + content.data)


def decode(data: bytes) -> Message:
    """Return a complete message taken apart; ValueError when it is malformed."""
    order = "<" if data[:1] == b"l" else ">"
    reader = Reader(data, order)
    reader.at = 12
    fields = dict(reader.get("a(yv)"))
    reader.align(8)
    body = tuple(reader.get(kind) for kind in split(fields.get(SIGNATURE, "")))
    return Message(data[1], fields, body)


def length(header: bytes) -> int:
    """Return the length of the message that starts with these 16 bytes; ValueError if too long."""
    order = "<" if header[:1] == b"l" else ">"
    body, _serial, fields = struct.unpack(f"{order}4xIII", header)
    total: int = 16 + fields + -fields % 8 + body
    if total > MESSAGE_LIMIT:
        raise ValueError(f"D-Bus message of {total} bytes")
    return total


class Connection:
    """A connection to a bus, or (``bus=False``) directly to a peer such as systemd's own socket.

    timeout: seconds that every wait may take; then TimeoutError. Other failures are OSError.
    uid: of this user as the peer knows him, where that is another than here.
    """

    __slots__ = ("_buffer", "_bus", "_serial", "_socket", "_timeout", "signals")

    def __init__(self, path: str, *, bus: bool, timeout: float = 30.0, uid: int = -1) -> None:
        self._buffer = b""
        self._serial = 0
        self._bus = bus
        self._timeout = timeout
        self.signals: list[Message] = []
        self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(path)
            self._authenticate(os.geteuid() if uid < 0 else uid)
            if bus:
                name = "org.freedesktop.DBus"
                self.call(name, ("/org/freedesktop/DBus", name, "Hello"))
        except TimeoutError:
            self.close()
            raise self._late(path) from None
        except OSError as error:
            self.close()
            error.filename = path
            raise

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; twice is no error."""
        self._socket.close()

    def _authenticate(self, who: int) -> None:
        uid = str(who).encode().hex().encode()
        # BEGIN goes along at once: when it arrives in one read with the first call, systemd
        # takes both into its buffer and does not look at the call until more data comes.
        self._socket.sendall(b"\0AUTH EXTERNAL " + uid + b"\r\nBEGIN\r\n")
        while b"\r\n" not in self._buffer:
            self._receive()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        if not line.startswith(b"OK "):
            raise PermissionError(errno.EACCES, f"D-Bus: {line.decode(errors='replace')}")

    def _receive(self) -> None:
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            raise self._late() from None
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "D-Bus: the peer closed the connection")
        self._buffer += data

    def _late(self, path: "str | None" = None) -> TimeoutError:
        """Return the error for an answer that does not come; the socket's own says nothing."""
        return TimeoutError(errno.ETIMEDOUT, f"D-Bus: no answer for {self._timeout:g} s", path)

    def _next(self, deadline: float) -> Message:
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        while len(self._buffer) < 16 or len(self._buffer) < length(self._buffer[:16]):
            self._receive()
        size = length(self._buffer[:16])
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return decode(data)

    def call(
        self,
        destination: str,
        target: tuple[str, str, str],
        signature: str = "",
        *body: "Any",
    ) -> "tuple[Any, ...]":
        """Call a method and return the values it answers; DBusError when it answers an error.

        Signals that arrive meanwhile are kept in ``signals``.
        """
        self._serial += 1
        serial = self._serial
        receiver = destination if self._bus else None
        self._socket.sendall(encode_call(serial, receiver, target, signature, *body))
        deadline = time.monotonic() + self._timeout
        while True:
            message = self._next(deadline)
            if message.kind == SIGNAL:
                self.signals.append(message)
            if message.fields.get(REPLY_SERIAL) != serial:
                continue
            if message.kind == ERROR:
                text = message.body[0] if message.body else ""
                raise DBusError(message.fields.get(ERROR_NAME, "unknown"), str(text))
            return message.body

    def signal(self) -> Message:
        """Return the next signal, a kept one first; TimeoutError when none comes."""
        if self.signals:
            return self.signals.pop(0)
        deadline = time.monotonic() + self._timeout
        while True:
            message = self._next(deadline)
            if message.kind == SIGNAL:
                return message
