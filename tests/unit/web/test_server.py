from __future__ import annotations

import os
import select
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from knarr.web import body as bodies
from knarr.web.limits import Limits
from knarr.web.listening import Address
from knarr.web.message import Request, Response
from knarr.web.server import _whose
from tests.support.waiting import wait_until
from tests.support.web import everything, serving

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def plain(request: Request) -> Response:
    return Response(200, [], b"from " + (request.peer or "a unix socket").encode())


def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with serving(plain, where=Address(path=path)) as (server, connect), connect() as link:
        assert server.addresses == [path]
        link.sendall(ASK)
        assert link.recv(1000).endswith(b"from a unix socket")
    assert not os.path.exists(path)


def test_idle_connections_make_room(tmp_path: Path) -> None:
    with serving(plain, Limits(connections=2)) as (_, connect), ExitStack() as stack:
        links = []
        for _ in range(3):
            link = stack.enter_context(connect())
            link.sendall(ASK)
            assert link.recv(1000).endswith(b"from 127.0.0.1")
            links.append(link)
        # Usually the first; the server may see the second idle before it.
        (ended,) = select.select(links, [], [], 20)[0]
        assert ended.recv(1000) == b""
        links.remove(ended)
        for link in links:
            link.sendall(ASK)
            assert link.recv(1000).endswith(b"from 127.0.0.1")


def test_busy_connections_are_waited_for() -> None:
    gate = threading.Event()

    def slow(request: Request) -> Response:
        if request.path == "/slow":
            assert gate.wait(20)
        return Response(200, [], b"done")

    with serving(slow, Limits(connections=1)) as (_, connect), connect() as one:
        one.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with connect() as two:
            two.sendall(ASK)
            gate.set()
            assert everything(one).endswith(b"done")
            assert two.recv(1000).endswith(b"done")


def test_one_address_does_not_take_all_connections(caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()

    def slow(request: Request) -> Response:
        if request.path == "/slow":
            assert gate.wait(20)
        return Response(200, [], b"done")

    limits = Limits(connections=10, of_one=2)
    with serving(slow, limits) as (server, connect), ExitStack() as stack:
        busy = [stack.enter_context(connect()) for _ in range(2)]
        for link in busy:
            link.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        # Both are at work: one that is idle would make room.
        wait_until(lambda: [each.idle_since for each in server._guests] == [None, None])
        for _ in range(2):
            assert everything(stack.enter_context(connect())) == b""
        assert caplog.text.count("127.0.0.1 has 2 connections: no more are taken") == 1
        other = stack.enter_context(connect(source="127.0.0.2"))
        other.sendall(ASK)
        assert other.recv(1000).endswith(b"done")
        gate.set()
        for link in busy:
            assert link.recv(1000).endswith(b"done")
        # Now they are idle, and make room.
        wait_until(lambda: all(each.idle_since is not None for each in server._guests))
        more = stack.enter_context(connect())
        more.sendall(ASK)
        assert more.recv(1000).endswith(b"done")


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_what_counts_as_one_client(address: str, wanted: str) -> None:
    assert _whose(address) == wanted


def test_the_end_waits_for_requests_and_not_for_the_idle() -> None:
    begun = threading.Event()

    def reading(request: Request) -> Response:
        begun.set()
        return Response(200, [], bodies.read(request.body, 100) or b"")

    with serving(reading) as (server, connect), connect() as idle, connect() as busy:
        idle.sendall(ASK)
        idle.recv(1000)
        begun.clear()
        busy.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nha")
        assert begun.wait(20)
        server.stop()
        closing = threading.Thread(target=server.finish, args=(20,))
        closing.start()
        assert idle.recv(1000) == b""
        busy.sendall(b"lf")
        assert everything(busy).endswith(b"half")
        closing.join(20)
        assert not closing.is_alive()


def test_the_end_does_not_wait_for_ever() -> None:
    begun = threading.Event()

    def reading(request: Request) -> Response:
        begun.set()
        return Response(200, [], bodies.read(request.body, 100) or b"")

    with serving(reading) as (server, connect), connect() as busy:
        busy.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nha")
        assert begun.wait(20)
        server.stop()
        before = time.monotonic()
        server.finish(0.1)
        server.close()
        assert time.monotonic() - before < 5
        assert everything(busy) == b""
