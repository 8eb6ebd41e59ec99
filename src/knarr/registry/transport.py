"""One request and its answer over a kept connection, every failure an exception with a reason.

Unreachable   no connection, or it ended before the answer (worth another attempt)
WrongScheme   the server speaks TLS and we did not, or the reverse
Untrusted     its certificate is not one that we accept (no attempt would change that)
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlsplit

from knarr._version import __version__
from knarr.errors import InvalidArchive, KnarrError, Timeout, Unavailable
from knarr.registry.connections import Connection, Connections, Place
from knarr.registry.endpoint import Tls
from knarr.registry.patience import Patience

AGENT = f"knarr/{__version__}"
_STEP = 1024 * 1024
_DRAINED = 256 * 1024
STRICT = Tls()


class Unreachable(Unavailable):
    """There is no connection, or it ended before the answer was here."""


class NotThere(Unreachable):
    """There is no such host, or nobody listens on it."""


class WrongScheme(Unavailable):
    """One side speaks TLS and the other does not."""


class Untrusted(Unavailable):
    """The server's certificate is not accepted."""


class Stalled(Timeout):
    """The server let the time pass without a byte."""


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent: ``open(offset)`` returns it from there; size in bytes.

    report: is told how many bytes have gone so far.
    """

    open: Callable[[int], BinaryIO]
    size: int
    offset: int = 0
    report: Callable[[int], None] | None = None


class Response:
    """An answer whose body is still to be read; close it.

    mirror: which mirror it is of (``Endpoint.place``), "" for the registry itself.
    """

    def __init__(
        self,
        connections: Connections,
        connection: Connection,
        raw: http.client.HTTPResponse,
        url: str,
        patience: Patience,
        *,
        keep: bool,
    ) -> None:
        self.mirror = ""
        self._keep = keep
        self._connections = connections
        self._connection: Connection | None = connection
        self._raw = raw
        self._patience = patience
        self.url = url
        self.status = raw.status
        self.headers = raw.headers

    @property
    def length(self) -> int | None:
        """The bytes of the body that are still to come, None when the server does not say."""
        return self._raw.length

    def header(self, name: str) -> str:
        """Return a header's first value, or ""."""
        return self._raw.headers.get(name) or ""

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer with what comes next; less only at the end.

        Raises Unreachable, Stalled.
        """
        with told(urlsplit(self.url).netloc):
            return self._raw.readinto(buffer)

    def read(self, limit: int, what: str) -> bytes:
        """Return the whole body and close. Raises InvalidArchive beyond ``limit`` bytes.

        Also Stalled when it does not end in time, Unreachable when the connection does.
        """
        parts: list[bytes] = []
        left = limit + 1
        end = time.monotonic() + self._patience.total
        try:
            while left > 0:
                with told(urlsplit(self.url).netloc):
                    chunk = self._raw.read1(min(left, _STEP))
                if not chunk:
                    break
                parts.append(chunk)
                left -= len(chunk)
                if time.monotonic() > end:
                    raise Stalled(f"{what}: no end after {self._patience.total:.0f} seconds")
        finally:
            self.close()
        if left <= 0:
            raise InvalidArchive(f"{what} is longer than {limit} bytes")
        if self._raw.length:
            raise Unreachable(f"{what}: the connection ended within it")
        return b"".join(parts)

    def start(self, limit: int) -> bytes:
        """Return up to ``limit`` bytes of the body and close; errors give what there was."""
        parts: list[bytes] = []
        try:
            self._read_some(limit, parts.append)
        except (OSError, http.client.HTTPException):
            pass  # the status is what counts; this is only for its text
        self.close()
        return b"".join(parts)

    def _read_some(self, limit: int, take: Callable[[bytes], object]) -> None:
        """Read so many bytes for as long as one stall may last, however they come."""
        end = time.monotonic() + self._patience.stall
        while limit > 0 and time.monotonic() < end and (chunk := self._raw.read1(limit)):
            take(chunk)
            limit -= len(chunk)

    def close(self) -> None:
        """Give the connection back if the body is at its end, or nearly so; else end it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if not self._raw.isclosed() and (self._raw.length or 0) <= _DRAINED:
                if self._raw.length is not None:
                    self._read_some(self._raw.length, len)
                if self._raw.length == 0:
                    self._raw.read()  # which is when its end is noticed
        except (OSError, http.client.HTTPException):
            self._raw.close()
            self._connections.drop(connection)
            return
        if self._keep and self._raw.isclosed() and not self._raw.will_close:
            self._connections.give_back(connection)
        else:
            self._raw.close()
            self._connections.drop(connection)


class Transport:
    """Sends requests. Safe for threads; ``close`` ends all that are under way."""

    def __init__(self, connections: Connections, patience: Patience) -> None:
        self.connections = connections
        self.patience = patience

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | bytes | None = None,
        tls: Tls = STRICT,
        connect: float = 0.0,
    ) -> Response:
        """Return the answer to one request, whatever its status.

        A kept connection that the server closes just then is replaced once, but not within an
        upload, of which it may have got a part. Raises Unreachable, WrongScheme, Untrusted,
        Stalled.
        """
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        place = Place(parts.scheme, parts.hostname or "", port, tls, connect)
        if parts.scheme == "http":
            place = place._replace(tls=STRICT)
        connection = self.connections.take(place)
        try:
            return self._exchange(connection, method, url, headers, body)
        except Unreachable:
            if connection.fresh or isinstance(body, Body):
                raise
        connection = self.connections.take(place, new=True)
        return self._exchange(connection, method, url, headers, body)

    def close(self) -> None:
        """End all connections, also those in use by other threads."""
        self.connections.close()

    def _exchange(
        self,
        connection: Connection,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | bytes | None,
    ) -> Response:
        parts = urlsplit(url)
        target = url if connection.via_proxy else (parts.path or "/")
        if parts.query and not connection.via_proxy:
            target += f"?{parts.query}"
        raw = connection.raw
        try:
            with told(parts.netloc):
                raw.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
                raw.putheader("Host", parts.netloc.rpartition("@")[2])
                raw.putheader("User-Agent", AGENT)
                for name, value in headers.items():
                    raw.putheader(name, value)
                if connection.via_proxy and connection.proxy_authorization:
                    raw.putheader("Proxy-Authorization", connection.proxy_authorization)
                size = body.size - body.offset if isinstance(body, Body) else len(body or b"")
                if body is not None or method in ("POST", "PUT", "PATCH"):
                    raw.putheader("Content-Length", str(size))
                raw.endheaders()
                whole = _send_body(raw, body) if body else True
                answer = raw.getresponse()
        except BaseException:
            self.connections.drop(connection)
            raise
        return Response(self.connections, connection, answer, url, self.patience, keep=whole)


def _send_body(raw: http.client.HTTPConnection, body: Body | bytes) -> bool:
    """Send the body and return whether all has gone.

    A server that answers before its end and hangs up is listened to: the answer says why, or
    cannot be read, which fails as the sending did.
    """
    handle: socket.socket = raw.sock
    try:
        if isinstance(body, bytes):
            handle.sendall(body)
            return True
        with contextlib.closing(body.open(body.offset)) as source:
            done = body.offset
            while done < body.size:
                done += _send_some(handle, source, min(_STEP, body.size - done))
                if body.report is not None:
                    body.report(done)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _send_some(handle: socket.socket, source: BinaryIO, count: int) -> int:
    data = source.read(count)
    if not data:
        raise InvalidArchive("what is to be sent ends before its length")
    handle.sendall(data)
    return len(data)


@contextlib.contextmanager
def told(server: str) -> Iterator[None]:
    """Turn what sockets, TLS and HTTP raise in the block into one of the exceptions above."""
    try:
        yield
    except KnarrError:
        raise
    except ssl.SSLCertVerificationError as error:
        raise Untrusted(
            f"{server}: its certificate is not accepted: {error.verify_message}"
        ) from None
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
            raise WrongScheme(f"{server} speaks plain HTTP, not HTTPS") from None
        raise Unreachable(f"{server}: TLS: {error.reason or error}") from None
    except TimeoutError:
        raise Stalled(f"{server} does not answer") from None
    except socket.gaierror as error:
        raise NotThere(f"{server}: no such host: {error.strerror or error}") from None
    except ConnectionRefusedError:
        raise NotThere(f"{server}: Connection refused") from None
    except http.client.BadStatusLine as error:
        if isinstance(error, http.client.RemoteDisconnected):
            raise Unreachable(f"{server} closed the connection without an answer") from None
        raise WrongScheme(f"{server} does not answer in HTTP") from None
    except http.client.IncompleteRead:
        raise Unreachable(f"{server}: the connection ended within an answer") from None
    except http.client.HTTPException as error:
        raise Unreachable(f"{server}: {type(error).__name__}: {str(error)[:200]}") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise Unreachable(f"{server}: {reason}") from None
    except ValueError as error:
        # A closed socket, a header that cannot be sent, a malformed chunk.
        raise Unreachable(f"{server}: {str(error)[:200]}") from None
