"""One connection: requests one after the other until somebody has enough.

Each request gets a parser of its own. That of h11 reads the head; a body with a length goes past
it (``body.py``), and what follows the body is given to the next parser. So requests that a client
sends ahead are answered in their order.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable
from email.utils import formatdate
from http.client import responses
from typing import TYPE_CHECKING

import h11

from knarr.web.body import Body, ChunkedBody, LengthBody, drain
from knarr.web.message import (
    BadRequest,
    Disconnected,
    FilePart,
    Request,
    Response,
    Stream,
    TakeOver,
    split_target,
)
from knarr.web.pace import Pace

if TYPE_CHECKING:
    from knarr.web.limits import Limits

_log = logging.getLogger(__name__)
_READ = 64 * 1024
_COPY = 256 * 1024
_LONGEST_LENGTH = 18  # digits: more than any disk holds

Handler = Callable[[Request], Response]
# Called after each answer: request, status, bytes of body sent, seconds.
Observer = Callable[[Request, int, int, float], None]


class Connection:
    """Serves one accepted socket; ``run`` returns when it is to be closed.

    may_wait: called before waiting for a next request; False ends the connection instead.
    busy: called when that request has begun to come.
    """

    def __init__(
        self,
        link: socket.socket,
        handler: Handler,
        limits: Limits,
        *,
        peer: str = "",
        may_wait: Callable[[], bool] = lambda: True,
        busy: Callable[[], None] = lambda: None,
        observer: Observer | None = None,
    ) -> None:
        self._link = link
        self._handler = handler
        self._limits = limits
        self._peer = peer
        self._may_wait = may_wait
        self._busy = busy
        self._observer = observer
        self._early = b""

    def run(self) -> None:
        """Serve requests until the client or the server ends it; network errors end it quietly."""
        try:
            while self._one():
                pass
        except (Disconnected, TimeoutError, ConnectionError, ssl.SSLError) as gone:
            _log.debug("connection of %s: %s", self._peer or "a unix socket", gone)

    # --- reading --------------------------------------------------------------------------------

    def _one(self) -> bool:
        """Serve one request; return whether another may follow."""
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.head)
        try:
            head = self._head(parser)
            if head is None:
                return False
            started = time.monotonic()
            request = self._request(parser, head)
        except (h11.RemoteProtocolError, BadRequest) as error:
            self._refuse(parser, error)
            return False
        return self._serve(parser, request, started)

    def _head(self, parser: h11.Connection) -> h11.Request | None:
        """Return the head of the next request, None when the client sends no more."""
        early, self._early = self._early, b""
        deadline = 0.0
        if early:
            parser.receive_data(early)
            deadline = time.monotonic() + self._limits.head_time
        while True:
            event = parser.next_event()
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:
                return None
            if deadline:
                self._link.settimeout(max(deadline - time.monotonic(), 0.001))
                data = self._link.recv(_READ)
            else:
                if not self._may_wait():
                    return None
                self._link.settimeout(self._limits.idle_time)
                data = self._link.recv(_READ)
                self._busy()
                deadline = time.monotonic() + self._limits.head_time
            parser.receive_data(data)

    def _request(self, parser: h11.Connection, head: h11.Request) -> Request:
        self._link.settimeout(self._limits.stall_time)
        if head.http_version not in (b"1.0", b"1.1"):
            raise BadRequest("this server speaks HTTP/1.0 and 1.1", 505)
        headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in head.headers]
        path, query = split_target(head.target)
        return Request(
            method=head.method.decode("ascii"),
            path=path,
            query=query,
            headers=headers,
            body=self._body(parser, headers),
            peer=self._peer,
            secure=isinstance(self._link, ssl.SSLSocket),
        )

    def _body(self, parser: h11.Connection, headers: list[tuple[str, str]]) -> Body:
        """Return the body as its headers frame it. Raises BadRequest for what smuggles."""
        lengths = [value for name, value in headers if name == "content-length"]
        coded = any(name == "transfer-encoding" for name, _ in headers)
        if coded and lengths:
            raise BadRequest("Content-Length and Transfer-Encoding exclude each other")
        waits = parser.they_are_waiting_for_100_continue
        ask = (lambda: self._continue(parser)) if waits else None
        pace = Pace(self._limits)
        if coded:
            return ChunkedBody(self._link, pace, parser, ask)
        length = lengths[0] if lengths else "0"
        if len(length) > _LONGEST_LENGTH:
            raise BadRequest("Content-Length is beyond all measure", 413)
        return LengthBody(self._link, pace, parser.trailing_data[0], int(length), ask)

    def _continue(self, parser: h11.Connection) -> None:
        go_on = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
        self._link.sendall(parser.send(go_on) or b"")

    # --- answering ------------------------------------------------------------------------------

    def _serve(self, parser: h11.Connection, request: Request, started: float) -> bool:
        response = self._answer(request)
        sent = 0
        try:
            if isinstance(response, TakeOver):
                return self._hand_over(request, response)
            keep = self._can_keep(request.body)
            sent = self._send(parser, request, response, keep=keep)
        finally:
            response.close()
            if self._observer is not None:
                self._observer(request, response.status, sent, time.monotonic() - started)
        if not (keep and self._drained(request.body)):
            self._linger()
            return False
        self._early = request.body.rest()
        return parser.our_state is h11.DONE

    def _answer(self, request: Request) -> Response:
        """Return the handler's answer; whatever it raises becomes one, but for lost clients."""
        try:
            return self._handler(request)
        except BadRequest as error:
            return _plain(error.status, str(error))
        except Disconnected:
            raise
        except Exception:  # of any kind: the other connections go on
            _log.exception("%s %s failed", request.method, request.path)
            return _plain(500, "the server failed; its log says why")

    def _can_keep(self, body: Body) -> bool:
        """Return whether what is left of a body is little enough to be read away."""
        if body.finished or body.broken or body.awaited:
            return body.finished
        return body.length is None or body.length <= self._limits.drain

    def _drained(self, body: Body) -> bool:
        """Read away what the handler did not want of a body; return whether its end came."""
        if body.finished:
            return True
        self._link.settimeout(self._limits.drain_time)
        try:
            return drain(body, self._limits.drain, self._limits.drain_time)
        except (BadRequest, Disconnected):
            return False

    def _send(
        self, parser: h11.Connection, request: Request, response: Response, *, keep: bool
    ) -> int:
        """Send the answer; return how many bytes of body went out."""
        body = response.body
        headers = [("Date", formatdate(usegmt=True)), *response.headers]
        length = _length(body)
        if length is not None and response.status not in (204, 304):
            headers.append(("Content-Length", str(length)))
        if not keep:
            headers.append(("Connection", "close"))
        head = _head_of(parser, response.status, headers)
        if request.method == "HEAD" or response.status in (204, 304):
            self._link.sendall(head)
            parser.send(h11.EndOfMessage())
            return 0
        if isinstance(body, bytes):
            self._link.sendall(head + body)
            parser.send_with_data_passthrough(h11.Data(data=body))
        elif isinstance(body, FilePart):
            self._send_file(head, body)
            parser.send_with_data_passthrough(h11.Data(data=_Sent(body.count)))  # type: ignore[arg-type]
        elif isinstance(body, Stream):
            self._send_stream(head, body)
            parser.send_with_data_passthrough(h11.Data(data=_Sent(body.length)))  # type: ignore[arg-type]
        else:
            return self._send_chunks(parser, head, response)
        parser.send(h11.EndOfMessage())
        return length or 0

    def _send_file(self, head: bytes, part: FilePart) -> None:
        """Send a head and a part of a file; by the kernel alone where nothing encrypts."""
        if part.count == 0:
            self._link.sendall(head)
        elif isinstance(self._link, ssl.SSLSocket):
            self._link.sendall(head)
            self._copy(part)
        else:
            self._send_more(head)
            Pace(self._limits).send(self._link, part)

    def _send_more(self, data: bytes) -> None:
        """Send data that more follows at once: one packet for both (send(2), MSG_MORE)."""
        while data:
            data = data[self._link.send(data, socket.MSG_MORE) :]

    def _copy(self, part: FilePart) -> None:
        room = memoryview(bytearray(min(_COPY, part.count)))
        part.file.seek(part.offset)
        left = part.count
        while left:
            count = part.file.readinto(room[: min(left, len(room))])  # type: ignore[attr-defined]
            if not count:
                raise Disconnected("the file became shorter while it was sent")
            self._link.sendall(room[:count])
            left -= count

    def _send_stream(self, head: bytes, body: Stream) -> None:
        self._link.sendall(head)
        left = body.length
        for piece in body.pieces:
            left -= len(piece)
            if left < 0:
                break
            self._link.sendall(piece)
        if left:
            raise Disconnected(f"{body.length} bytes were announced, {-left:+d} came")

    def _send_chunks(self, parser: h11.Connection, head: bytes, response: Response) -> int:
        assert not isinstance(response.body, (bytes, FilePart, Stream))
        self._link.sendall(head)
        sent = 0
        for piece in response.body:
            if piece:
                self._link.sendall(parser.send(h11.Data(data=piece)) or b"")
                sent += len(piece)
        self._link.sendall(parser.send(h11.EndOfMessage()) or b"")
        return sent

    def _hand_over(self, request: Request, response: TakeOver) -> bool:
        """Send the head as it stands and leave the connection to the handler."""
        lines = [f"HTTP/1.1 {response.status} {responses[response.status]}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        self._link.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        self._link.settimeout(None)
        response.take(self._link, request.body.rest())
        return False

    def _refuse(self, parser: h11.Connection, error: h11.RemoteProtocolError | BadRequest) -> None:
        """Answer what cannot be read as a request, and end."""
        status = error.status if isinstance(error, BadRequest) else error.error_status_hint
        if parser.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = f"{error}\n".encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        self._link.sendall(_head_of(parser, status, headers) + body)
        self._linger()

    def _linger(self) -> None:
        """End our half and read what still comes for a while: a reset would eat the answer."""
        end = time.monotonic() + self._limits.drain_time
        if not isinstance(self._link, ssl.SSLSocket):
            self._link.shutdown(socket.SHUT_WR)
        while (seconds := end - time.monotonic()) > 0:
            self._link.settimeout(seconds)
            if not self._link.recv(_READ):
                return


def _head_of(parser: h11.Connection, status: int, headers: list[tuple[str, str]]) -> bytes:
    reason = responses.get(status, "")
    return parser.send(h11.Response(status_code=status, headers=headers, reason=reason)) or b""


class _Sent:
    """Stands for bytes that went out without h11, which only counts them."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


def _length(body: object) -> int | None:
    if isinstance(body, bytes):
        return len(body)
    if isinstance(body, Stream):
        return body.length
    return body.count if isinstance(body, FilePart) else None


def _plain(status: int, text: str) -> Response:
    return Response(status, [("Content-Type", "text/plain; charset=utf-8")], f"{text}\n".encode())
