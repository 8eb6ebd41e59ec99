"""What goes over the wire: heads, bodies, errors, and whether the connection goes on."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.web import body as bodies
from knarr.web.limits import Limits
from knarr.web.message import FilePart, Request, Response, TakeOver, whole_file
from tests.support.web import everything, serving

QUICK = Limits(
    head_time=0.3, idle_time=0.3, stall_time=0.3, drain=10_000, drain_time=0.3, head=4096
)


class Handler:
    """Answers with what the test has put into it, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.bodies: list[bytes | None] = []
        self.folder = Path()

    def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        if request.path == "/fail":
            raise RuntimeError("on purpose")
        if request.path == "/ignore":
            return Response(403, [], b"no")
        if request.path == "/file":
            return Response(200, [], whole_file((self.folder / "file").open("rb", buffering=0)))
        if request.path == "/part":
            return Response(206, [], FilePart((self.folder / "file").open("rb", buffering=0), 3, 5))
        if request.path == "/chunks":
            return Response(200, [], iter([b"one", b"", b"two"]))
        if request.path == "/nothing":
            return Response(204)
        if request.path == "/exec":
            self.bodies.append(bodies.read(request.body, 1000))
            return TakeOver(200, [("Content-Type", "application/octet-stream")], take=shout)
        if request.path == "/take":
            return TakeOver(101, [("Upgrade", "tcp"), ("Connection", "Upgrade")], take=shout)
        self.bodies.append(bodies.read(request.body, 1_000_000))
        return Response(200, [("X-Number", str(len(self.asked)))], b"ok")


def shout(link: socket.socket, early: bytes) -> None:
    """Speak another protocol: everything comes back in upper case."""
    link.sendall(early.upper())
    while data := link.recv(100):
        link.sendall(data.upper())


@pytest.fixture
def handler(tmp_path: Path) -> Handler:
    made = Handler()
    made.folder = tmp_path
    (tmp_path / "file").write_bytes(b"0123456789" * 100_000)
    return made


@pytest.fixture
def link(handler: Handler) -> Iterator[socket.socket]:
    with serving(handler, QUICK) as (_, connect), connect() as made:
        yield made


def head(method: str = "GET", path: str = "/", *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def answer(link: socket.socket) -> tuple[int, bytes, bytes]:
    """Read one answer with a length; return status, head and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = link.recv(1)
        assert more, data
        data += more
    length = 0
    for line in data.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    found = b""
    while len(found) < length:
        more = link.recv(length - len(found))
        assert more
        found += more
    return int(data.split(b" ", 2)[1]), data, found


def test_connections_are_kept(link: socket.socket, handler: Handler) -> None:
    for number in (1, 2, 3):
        link.sendall(head("POST", "/x?a=b", "Content-Length: 3") + b"abc")
        status, lines, found = answer(link)
        assert (status, found) == (200, b"ok")
        assert f"x-number: {number}\r\n".encode() in lines.lower()
        assert b"\r\ndate: " in lines.lower()
    assert handler.bodies == [b"abc"] * 3


def test_requests_that_are_sent_ahead_are_answered_in_their_order(
    link: socket.socket, handler: Handler
) -> None:
    requests = [
        head("POST", "/1", "Content-Length: 3") + b"abc",
        head("GET", "/2"),
        head("POST", "/3", "Transfer-Encoding: chunked")
        + b"3\r\nxyz\r\n1;e=f\r\n!\r\n0\r\nT: t\r\n\r\n",
        head("PUT", "/4", "Content-Length: 0"),
    ]
    link.sendall(b"".join(requests))
    for _ in requests:
        assert answer(link)[0] == 200
    assert [each.path for each in handler.asked] == ["/1", "/2", "/3", "/4"]
    assert handler.bodies == [b"abc", b"", b"xyz!", b""]


def test_one_byte_at_a_time(link: socket.socket, handler: Handler) -> None:
    for byte in head("POST", "/", "Content-Length: 5") + b"hello":
        link.sendall(bytes([byte]))
    assert answer(link)[0] == 200
    assert handler.bodies == [b"hello"]


def test_close_when_the_client_says_so(link: socket.socket) -> None:
    link.sendall(head("GET", "/", "Connection: close"))
    assert b"connection: close" in everything(link).lower()


def test_http_1_0(link: socket.socket) -> None:
    link.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert everything(link).endswith(b"\r\n\r\nok")


def test_http_1_0_gets_no_chunks(link: socket.socket) -> None:
    link.sendall(b"GET /chunks HTTP/1.0\r\n\r\n")
    assert everything(link).endswith(b"\r\n\r\nonetwo")


def test_an_answer_in_chunks(link: socket.socket) -> None:
    link.sendall(head("GET", "/chunks") + head("GET", "/", "Connection: close"))
    got = everything(link)
    assert b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\nHTTP/1.1 200" in got


def test_files_and_parts_of_them(link: socket.socket) -> None:
    link.sendall(head("GET", "/file"))
    assert answer(link)[2] == b"0123456789" * 100_000
    link.sendall(head("GET", "/part"))
    assert answer(link)[2] == b"34567"


@pytest.mark.parametrize("path", ["/file", "/", "/chunks"])
def test_head_has_no_body(link: socket.socket, path: str) -> None:
    link.sendall(head("HEAD", path) + head("GET", "/", "Connection: close"))
    got = everything(link)
    assert got.count(b"HTTP/1.1 200") == 2
    first = got.partition(b"HTTP/1.1 200")[2].partition(b"HTTP/1.1 200")[0]
    assert first.endswith(b"\r\n\r\n")
    if path == "/file":
        assert b"content-length: 1000000" in first.lower()


def test_204_has_neither_body_nor_length(link: socket.socket) -> None:
    link.sendall(head("GET", "/nothing") + head("GET", "/", "Connection: close"))
    assert b"content-length" not in everything(link).lower().partition(b"\r\n\r\n")[0]


def test_100_continue_when_the_body_is_wanted(link: socket.socket, handler: Handler) -> None:
    link.sendall(head("PUT", "/", "Content-Length: 5", "Expect: 100-continue"))
    assert link.recv(100).startswith(b"HTTP/1.1 100 ")
    link.sendall(b"hello")
    assert answer(link)[0] == 200
    assert handler.bodies == [b"hello"]


def test_100_continue_for_chunks(link: socket.socket, handler: Handler) -> None:
    link.sendall(head("PUT", "/", "Transfer-Encoding: chunked", "Expect: 100-continue"))
    assert link.recv(100).startswith(b"HTTP/1.1 100 ")
    link.sendall(b"5\r\nhello\r\n0\r\n\r\n")
    assert answer(link)[0] == 200
    assert handler.bodies == [b"hello"]


def test_no_100_for_a_body_that_nobody_wants(link: socket.socket) -> None:
    link.sendall(head("PUT", "/ignore", "Content-Length: 5", "Expect: 100-continue"))
    got = everything(link)
    assert got.startswith(b"HTTP/1.1 403")
    assert b"connection: close" in got.lower()


def test_a_small_body_that_nobody_wanted_is_read_away(link: socket.socket) -> None:
    for framing, sent in (
        ("Content-Length: 9", b"x" * 9),
        ("Transfer-Encoding: chunked", b"9\r\nxxxxxxxxx\r\n0\r\n\r\n"),
    ):
        link.sendall(head("PUT", "/ignore", framing) + sent)
        assert answer(link)[0] == 403
    link.sendall(head("GET", "/"))
    assert answer(link)[0] == 200


def test_a_large_body_that_nobody_wanted_does_not_hide_the_answer(link: socket.socket) -> None:
    link.sendall(head("PUT", "/ignore", "Content-Length: 9000000"))
    try:
        for _ in range(9):
            link.sendall(bytes(1_000_000))
    except OSError:
        pass  # the server need not take it all
    assert everything(link).startswith(b"HTTP/1.1 403")


def test_a_failure_of_the_handler_is_500_and_the_connection_goes_on(link: socket.socket) -> None:
    link.sendall(head("GET", "/fail"))
    status, _, found = answer(link)
    assert status == 500
    assert b"on purpose" not in found
    link.sendall(head("GET", "/"))
    assert answer(link)[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"rubbish\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 19 + b"\r\n\r\n", 413),
        (head("POST", "/", "Content-Length: 5", "Transfer-Encoding: chunked"), 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 5000, 431),
    ],
)  # fmt: skip
def test_what_is_no_request(link: socket.socket, sent: bytes, status: int) -> None:
    link.sendall(sent)
    got = everything(link)
    assert int(got.split(b" ", 2)[1]) == status, got
    assert b"connection: close" in got.lower()


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET", head()[:-2], head("PUT", "/", "Content-Length: 5") + b"abc",
     head("PUT", "/", "Transfer-Encoding: chunked") + b"5\r\nab"],
)  # fmt: skip
@pytest.mark.parametrize("end", [True, False])
def test_who_stops_in_the_middle_is_let_go(
    handler: Handler, link: socket.socket, sent: bytes, end: bool
) -> None:
    link.sendall(sent)
    if end:
        link.shutdown(socket.SHUT_WR)
    began = time.monotonic()
    assert b"200" not in everything(link)
    assert time.monotonic() - began < 10
    assert handler.bodies == []


def trickle(link: socket.socket, data: bytes) -> int:
    """Send a byte each hundredth of a second until the server ends it; return how many went."""
    for count in range(len(data)):
        if select.select([link], [], [], 0.01)[0]:
            return count
        try:
            link.sendall(data[count : count + 1])
        except (BrokenPipeError, ConnectionResetError):
            return count
    return len(data)


@pytest.mark.parametrize(
    ("before", "slowly"),
    [
        (b"", head("GET", "/", "X: " + "y" * 4000)),
        (head()[:-2], b"X: y\r\n" * 500),
        (head("PUT", "/", "Content-Length: 4000"), b"x" * 4000),
        (head("PUT", "/", "Transfer-Encoding: chunked"), b"1\r\nx\r\n" * 600),
        (head("PUT", "/", "Transfer-Encoding: chunked"), b"5;" + b"y" * 4000),
        (head("PUT", "/", "Transfer-Encoding: chunked") + b"0\r\n", b"X: y\r\n" * 500),
    ],
)
def test_who_sends_a_little_now_and_then_is_let_go(
    handler: Handler, link: socket.socket, before: bytes, slowly: bytes
) -> None:
    link.sendall(before)
    assert trickle(link, slowly) < 2000
    assert b"200" not in everything(link)
    assert handler.bodies == []


def test_who_is_slow_but_not_too_slow_is_served(handler: Handler) -> None:
    limits = replace(QUICK, slowest=10)
    with serving(handler, limits) as (_, connect), connect() as link:
        link.sendall(head("PUT", "/", "Content-Length: 60"))
        assert trickle(link, b"x" * 60) == 60
        assert answer(link)[0] == 200
    assert handler.bodies == [b"x" * 60]


def test_who_takes_a_little_now_and_then_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(30_000_000))
    handler = Handler()
    handler.folder = tmp_path
    limits = replace(QUICK, slowest=10**12)  # so that what the kernel's buffers take is slow
    with serving(handler, limits) as (_, connect), connect() as link:
        link.sendall(head("GET", "/file"))
        got = 0
        while data := link.recv(65536):
            got += len(data)
            select.select([], [], [], 0.02)  # a slow reader
        assert got < 30_000_000


def test_who_does_not_read_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(30_000_000))
    handler = Handler()
    handler.folder = tmp_path
    with serving(handler, QUICK) as (server, connect), connect() as link:
        link.sendall(head("GET", "/file"))
        deadline = time.monotonic() + 20
        while server._guests or not handler.asked:
            assert time.monotonic() < deadline
        assert len(everything(link)) < 30_000_000


def test_the_connection_can_be_taken_over(link: socket.socket) -> None:
    link.sendall(head("POST", "/take", "Upgrade: tcp", "Connection: Upgrade") + b"early ")
    data = b""
    while not data.endswith(b"EARLY "):
        data += link.recv(1000)
    assert data.startswith(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\n")
    link.sendall(b"late")
    assert link.recv(100) == b"LATE"
    link.shutdown(socket.SHUT_WR)
    assert link.recv(100) == b""


def test_who_offers_another_protocol_and_does_not_get_it_goes_on(link: socket.socket) -> None:
    for _ in range(2):
        link.sendall(head("GET", "/", "Upgrade: h2c", "Connection: Upgrade"))
        assert answer(link)[0] == 200


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        ("Content-Length: 2", b"{}"),
        ("Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n"),
    ],
)
def test_the_connection_is_taken_over_after_a_body(
    link: socket.socket, handler: Handler, framing: str, sent: bytes
) -> None:
    link.sendall(head("POST", "/exec", framing) + sent + b"early ")
    data = b""
    while not data.endswith(b"EARLY "):
        data += link.recv(1000)
    assert data.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n")
    assert handler.bodies == [b"{}"]
    link.sendall(b"late")
    assert link.recv(100) == b"LATE"


@settings(max_examples=200)
@given(
    parts=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                [b"GET / HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n", b"Content-Length: 3\r\n", b"abc",
                 b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n",
                 b"POST /x HTTP/1.1\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n",
                 b"Connection: close, x\r\n"]
            ),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_whatever_comes_the_next_one_is_served(parts: list[bytes], fuzzed: object) -> None:
    connect = fuzzed
    with connect() as link:  # type: ignore[operator]
        try:
            link.sendall(b"".join(parts))
            link.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # ended already
        everything(link)
    with connect() as link:  # type: ignore[operator]
        link.sendall(head())
        assert answer(link)[0] == 200


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[object]:
    with serving(Handler(), QUICK) as (_, connect):
        before = len(os.listdir("/proc/self/fd"))
        yield connect
        deadline = time.monotonic() + 20
        while len(os.listdir("/proc/self/fd")) > before:
            assert time.monotonic() < deadline, "descriptors are left"
