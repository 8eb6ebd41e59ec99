"""Requests to the launcher, well formed and not."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.supervisor import wire

Pair = tuple[socket.socket, socket.socket]

V = wire.VERSION + b"\0"


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield left, right
    left.close()
    right.close()


def test_a_look_takes_nothing(pair: Pair) -> None:
    wire.send(pair[0], wire.RUN, "/run/x", {"id": "\u00e9"}, [0, 1])
    assert wire.peek(pair[1]) == (b"r", "/run/x")
    assert wire.peek(pair[1]) == (b"r", "/run/x")
    request, fds = wire.receive(pair[1])
    assert request == {"id": "\u00e9"}
    assert len(fds) == 2
    for fd in fds:
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_a_large_request_travels_in_memory(pair: Pair) -> None:
    before = len(os.listdir("/proc/self/fd"))
    wire.send(pair[0], wire.RUN, "/run/x", {"id": "x" * 2_000_000}, [0])
    assert wire.peek(pair[1]) == (b"r", "/run/x")
    request, fds = wire.receive(pair[1])
    assert len(request["id"]) == 2_000_000
    (fd,) = fds
    os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_path_that_is_no_text(pair: Pair) -> None:
    path = os.fsdecode(b"/run/\xff")
    wire.send(pair[0], wire.ADOPT, path, {}, [])
    assert wire.peek(pair[1]) == (b"a", path)


def test_the_callers_departure(pair: Pair) -> None:
    pair[0].close()
    for look in (wire.peek, wire.receive):
        with pytest.raises(EOFError):
            look(pair[1])


@given(st.binary(min_size=1, max_size=300))
def test_any_packet_is_a_request_or_refused(packet: bytes) -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        left.send(packet)
        try:
            wire.peek(right)
        except wire.BadRequest:
            pass
        try:
            request, fds = wire.receive(right)
        except wire.BadRequest:
            return
        assert isinstance(request, dict)
        assert fds == []


@pytest.mark.parametrize(
    "packet",
    [
        b"r" + V + b"/x\0h" + b"x" * 200_000,
        b"r" + V + b"/x\0m",
        b"r" + V + b"/x\0h[1]",
        b"r" + V + b"/x\0h",
    ],
)
def test_what_is_refused(pair: Pair, packet: bytes) -> None:
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    pair[0].send(packet)
    with pytest.raises(wire.BadRequest):
        wire.receive(pair[1])
