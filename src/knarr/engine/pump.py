"""Moves bytes between descriptors and a container: what an attached command does all day."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

from knarr.engine.attach import CHUNK, Attachment
from knarr.errors import InvalidArgument

if TYPE_CHECKING:
    from knarr.engine.model import ExitStatus

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"
KILL = 9


class Detached(Exception):
    """The user typed the detach keys; the container goes on."""


def pump(
    attachment: Attachment,
    *,
    stdin: int | None = None,
    stdout: int | None = 1,
    stderr: int | None = 2,
    detach_keys: str | None = None,
) -> ExitStatus | None:
    """Copy until the container ends; return how, or None when the supervisor died first.

    Descriptors are used as they are (a terminal's mode is the caller's
    business). detach_keys: sequence to look for in stdin, as
    ``ctrl-p,ctrl-q``; None looks for none. Raises Detached, InvalidArgument for
    a malformed sequence, OSError when stdout cannot be written.
    """
    source = _Input(attachment, stdin, parse_detach_keys(detach_keys) if detach_keys else b"")
    poller = select.poll()
    poller.register(attachment, select.POLLIN)
    source.register(poller)
    sinks = {"o": stdout, "e": stderr}
    while attachment.status is None:
        for handle, _ in poller.poll():
            if handle == stdin and not source.blocked:
                source.read(poller)
            elif handle == attachment.fileno():
                if not _deliver(attachment, sinks):
                    return attachment.status
                if source.blocked:
                    source.flush(poller)
    return attachment.status


def communicate(
    attachment: Attachment, input: bytes | None = None, timeout: float | None = None
) -> tuple[bytes, bytes, bool]:
    """Feed ``input``, collect until the end; return stdout, stderr, and whether time ran out.

    input None leaves stdin alone. After ``timeout`` seconds the container is
    killed and what it had written is returned.
    """
    chunks: dict[str, list[bytes]] = {"o": [], "e": []}
    deadline = None if timeout is None else time.monotonic() + timeout
    rest, open_stdin = memoryview(input or b""), input is not None
    timed_out = False
    while attachment.status is None:
        while open_stdin and rest and attachment.try_write(bytes(rest[:CHUNK])):
            rest = rest[CHUNK:]
        if open_stdin and not rest and attachment.try_close_stdin():
            open_stdin = False
        if deadline is not None and not timed_out:
            if not attachment.ready(deadline - time.monotonic()):
                timed_out = True
                attachment.signal(KILL)
                continue
        packet = attachment.receive()
        if packet is None:
            break
        if packet[0] in chunks:
            chunks[packet[0]].append(packet[1])
    return b"".join(chunks["o"]), b"".join(chunks["e"]), timed_out


def _deliver(attachment: Attachment, sinks: dict[str, int | None]) -> bool:
    """Write the next packet where it belongs; False at the end of the connection."""
    packet = attachment.receive()
    if packet is None:
        return False
    sink = sinks.get(packet[0])
    if sink is not None:
        write_all(sink, packet[1])
    return True


def write_all(handle: int, data: bytes) -> None:
    """Write all of ``data`` to a descriptor, waiting where it does not take it. Raises OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(handle, view) :]
        except BlockingIOError:
            select.select([], [handle], [])


class _Input:
    """stdin on its way in: watched for the detach keys, held back while nobody reads it."""

    def __init__(self, attachment: Attachment, handle: int | None, keys: bytes) -> None:
        self._attachment = attachment
        self._handle = handle
        self._keys = keys
        self._matched = 0
        self._pending = b""
        self.blocked = False

    def register(self, poller: select.poll) -> None:
        if self._handle is not None:
            poller.register(self._handle, select.POLLIN)

    def read(self, poller: select.poll) -> None:
        assert self._handle is not None
        try:
            data = os.read(self._handle, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a terminal that hung up reads as the end
        if not data:
            poller.unregister(self._handle)
            self._handle = None
            self._attachment.close_stdin()
            return
        self._pending = self._filter(data)
        self.flush(poller)

    def flush(self, poller: select.poll) -> None:
        """Send what is held; while the container does not take it, stdin is not read."""
        while self._pending:
            if not self._attachment.try_write(self._pending[:CHUNK]):
                self._block(poller, True)
                return
            self._pending = self._pending[CHUNK:]
        self._block(poller, False)

    def _block(self, poller: select.poll, blocked: bool) -> None:
        if blocked == self.blocked:
            return
        self.blocked = blocked
        if self._handle is not None:
            if blocked:
                poller.unregister(self._handle)
            else:
                poller.register(self._handle, select.POLLIN)

    def _filter(self, data: bytes) -> bytes:
        """Return ``data`` without a begun key sequence, which waits for its rest."""
        if not self._keys:
            return data
        out = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    raise Detached
                continue
            out += self._keys[: self._matched]
            self._matched = 0
            if byte == self._keys[0] and len(self._keys) > 1:
                self._matched = 1
            else:
                out.append(byte)
        return bytes(out)


_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse_detach_keys(text: str) -> bytes:
    """Return the bytes of a key sequence such as ``ctrl-p,ctrl-q`` or ``ctrl-a,d``.

    Raises InvalidArgument.
    """
    keys = bytearray()
    for part in text.split(","):
        name = part.strip()
        control = name.lower().removeprefix("ctrl-")
        if control != name.lower():
            if len(control) == 1 and control.isascii() and control.isalpha():
                keys.append(ord(control) - ord("a") + 1)
                continue
            if control in _CONTROL:
                keys.append(_CONTROL[control])
                continue
        elif len(name) == 1 and name.isascii():
            keys += name.encode()
            continue
        raise InvalidArgument(f"invalid detach keys ({text}): Unknown character: '{name}'")
    return bytes(keys)
