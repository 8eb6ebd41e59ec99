"""What a handler is given and what it gives back."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from knarr.web.body import Body

_MOST_PARAMETERS = 200


class BadRequest(Exception):
    """The request cannot be understood; ``status`` is the answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Disconnected(ConnectionError):
    """The client went away, or sent nothing for too long, in the middle of its request."""


@dataclass(slots=True)
class Request:
    """One request. ``path`` is decoded once; ``headers`` have lower-case names, in order.

    query: names and values, decoded, in order; a name may come several times.
    peer: address of the client, "" for a unix socket.
    user: for the handler to fill in; whoever logs the request reads it.
    """

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Sequence[tuple[str, str]]
    body: Body
    peer: str = ""
    secure: bool = False
    user: str = ""

    def header(self, name: str) -> str | None:
        """Return a header's value by its lower-case name; of several, joined by commas."""
        found = [value for each, value in self.headers if each == name]
        return ", ".join(found) if found else None

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter, None when it is not there."""
        return next((value for each, value in self.query if each == name), None)

    def parameters(self, name: str) -> list[str]:
        """Return all values of a query parameter."""
        return [value for each, value in self.query if each == name]


def split_target(target: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Return (decoded path, query) of a request target. Raises BadRequest."""
    try:
        text = target.decode("ascii")
    except UnicodeDecodeError:
        raise BadRequest("the request's address has bytes that have to be escaped") from None
    if not text.startswith("/"):
        text = _without_authority(text)
    path, _, query = text.partition("?")
    try:
        decoded = unquote(path, errors="strict")
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS
        )
    except ValueError as error:  # no UTF-8, or too many parameters
        raise BadRequest(f"the request's address cannot be read: {error}") from None
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in decoded):
        raise BadRequest("the request's address has control characters")
    return decoded, pairs


def _without_authority(text: str) -> str:
    """Return path and query of ``http://host/path``, which a server must take (RFC 9112, 3.2.2)."""
    scheme, colon, rest = text.partition("://")
    if not colon or scheme.lower() not in ("http", "https"):
        raise BadRequest("the request's address is none of this server")
    _, slash, path = rest.partition("/")
    return slash + path or "/"


@dataclass(slots=True)
class FilePart:
    """Bytes of an open file as a body; the file belongs to the response and is closed with it."""

    file: BinaryIO
    offset: int
    count: int

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def whole_file(file: BinaryIO) -> FilePart:
    """Return all of an open file as a body."""
    return FilePart(file, 0, os.fstat(file.fileno()).st_size)


@dataclass(slots=True)
class Stream:
    """A body of a known length whose bytes come as they are asked for; fewer end the connection."""

    length: int
    pieces: Iterator[bytes]

    def close(self) -> None:
        """End whatever makes the bytes."""
        close = getattr(self.pieces, "close", None)
        if close is not None:
            close()


@dataclass(slots=True)
class Response:
    """One answer. Bytes, FilePart and Stream have a length; an iterable is sent in chunks.

    The server adds Date, Content-Length and Connection, and leaves the body away for HEAD.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | FilePart | Stream | Iterable[bytes] = b""

    def close(self) -> None:
        """Give back what the body holds; harmless to repeat."""
        close = getattr(self.body, "close", None)
        if close is not None:
            close()


@dataclass(slots=True)
class TakeOver(Response):
    """An answer after which the raw connection is the handler's, until ``take`` returns.

    take: called with the socket (blocking) and the bytes that came after the request's head.
    A status of 101 or 200; the headers are sent as they stand, nothing is added.
    """

    take: Callable[[socket.socket, bytes], None] = lambda _link, _early: None
