"""Requests to the launcher: one packet whose head can be looked at without parsing the rest.

``OPERATION VERSION NUL RUN_DIR NUL WHERE BODY``: the launcher peeks at the head and
forks; only the process that does the work receives the packet. What the
launcher and the supervisors parsed they would keep in memory for good.

Who has still to work out what it wants can announce it: by a packet that says that the
whole one follows. Whoever carries it out is found and awake by then.
"""

import _socket
import json
import os

from knarr._version import __version__
from knarr.runtime import packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RUN, EXEC, ADOPT, FEATURES, QUIT = b"r", b"e", b"a", b"f", b"q"
# A container that has all the namespaces that can be made ahead: a word to the launcher.
RUN_APART = b"n"
# One that another OCI runtime makes: its supervisor takes in what that leaves behind.
RUN_FOREIGN = b"o"
RUNS = (RUN, RUN_APART, RUN_FOREIGN)
VERSION = __version__.encode()
LIMIT = 48 * 1024  # fits the send buffer of every configuration; what is longer travels in memory
_HERE, _MEMORY, _LATER = b"h", b"m", b"l"
_HEAD = 4400
_VERSION_LIMIT = 64
_encode = json.JSONEncoder(separators=(",", ":")).encode
_LONG = 86400.0  # seconds for what was announced
_PARTS = 3  # operation and version, run directory, the rest


class BadRequest(ValueError):
    """A packet that is not a request."""


class OtherVersion(Exception):
    """The caller's knarr is not the launcher's: it was upgraded meanwhile."""


def send(
    sock: "_socket.socket",
    operation: bytes,
    run_dir: str,
    request: "dict[str, Any]",
    fds: "list[int]",
    spec: "str | None" = None,
) -> None:
    """Send a request with descriptors; a body over the packet limit travels in memory. OSError.

    spec: JSON text that becomes the request's member ``spec`` as it is.
    """
    if len(fds) > packets.MAX_FDS:
        raise OSError(7, f"a container cannot be started with {len(fds)} descriptors")
    text = _encode(request)
    if spec is not None:
        text = f'{text[:-1]}{"," if request else ""}"spec":{spec}}}'
    body = text.encode()
    head = _head(operation, run_dir)
    if len(body) <= LIMIT:
        packets.send(sock, head + _HERE + body, fds)
        return
    memory = packets.in_memory(body)
    try:
        packets.send(sock, head + _MEMORY, [memory, *fds])
    finally:
        os.close(memory)


def announce(sock: "_socket.socket", operation: bytes, run_dir: str) -> None:
    """Say that a request follows on the same connection, by ``send``. OSError."""
    packets.send(sock, _head(operation, run_dir) + _LATER, [])


def _head(operation: bytes, run_dir: str) -> bytes:
    return operation + VERSION + b"\0" + os.fsencode(run_dir) + b"\0"


def peek(sock: "_socket.socket") -> "tuple[bytes, str]":
    """Return operation and run directory of the packet that waits.

    Raises BadRequest, OSError, EOFError when the caller has gone, and OtherVersion
    when it is a knarr that is older or newer than this one.
    """
    head = sock.recv(_HEAD, _socket.MSG_PEEK)
    if not head:
        raise EOFError("the caller has gone")
    parts = head.split(b"\0", 2)
    if len(parts) < _PARTS or not parts[0]:
        raise BadRequest("launcher: not a request")
    version = parts[0][1:]
    if version != VERSION and parts[0][:1] != QUIT:
        if version[:1].isdigit() and len(version) <= _VERSION_LIMIT:
            raise OtherVersion(os.fsdecode(version))
        raise BadRequest("launcher: not a request of any version")
    return head[:1], os.fsdecode(parts[1])


def receive(sock: "_socket.socket") -> "tuple[dict[str, Any], list[int]]":
    """Return body and descriptors (close-on-exec) of the request; BadRequest, OSError, EOFError."""
    body, received = _packet(sock)
    if body == _LATER:
        patience = sock.gettimeout()
        # It comes, or its sender ends and the connection with it. Not without any limit: such a
        # socket is told not to wait by whoever else has it and sets one.
        sock.settimeout(_LONG)
        body, received = _packet(sock)
        sock.settimeout(patience)
    if body[:1] == _MEMORY:
        if not received:
            raise BadRequest("launcher: the request's body is missing")
        text = packets.from_memory(received.pop(0))
    else:
        text = body[1:]
    try:
        request = json.loads(text)
    except ValueError as error:
        raise BadRequest(f"launcher: the request is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise BadRequest("launcher: the request is not an object")
    return request, received


def _packet(sock: "_socket.socket") -> "tuple[bytes, list[int]]":
    """Return what follows the head of the next packet."""
    try:
        packet, received = packets.receive(sock, LIMIT + _HEAD)
    except packets.Cut:
        raise BadRequest("launcher: the request was cut off") from None
    return packet.split(b"\0", 2)[-1], received
