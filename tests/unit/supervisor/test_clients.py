"""Clients that read, lag, leave and talk too much."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.supervisor import log as logs
from knarr.supervisor.clients import PACKET, Client

Pair = tuple[Client, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    right.setblocking(False)
    client = Client(left)
    yield client, right
    client.close()
    right.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[logs.LogWriter]:
    writer = logs.LogWriter(str(tmp_path / "log"))
    yield writer
    writer.close()


def put(client: Client, log: logs.LogWriter, data: bytes, stream: int = 1) -> None:
    offset = log.size
    log.write(stream, data)
    client.output(stream, data, log, offset)


def read_all(sock: socket.socket) -> bytes:
    out = b""
    while True:
        try:
            out += sock.recv(PACKET)[1:]
        except BlockingIOError:
            return out


def test_a_lagging_client_gets_everything_once_and_in_order(
    pair: Pair, log: logs.LogWriter
) -> None:
    client, sock = pair
    expected = b""
    for number in range(600):
        data = b"%6d" % number * 500
        expected += data
        put(client, log, data, 1 + number % 2)
    assert client.waiting
    client.control(b"x", b"end")
    out = b""
    for _ in range(1000):
        out += read_all(sock)
        client.catch_up(log)
    assert not client.pending
    assert out + read_all(sock) == expected + b"end"


def test_a_log_whose_name_is_gone_still_serves(pair: Pair, log: logs.LogWriter) -> None:
    client, sock = pair
    for _ in range(40):
        put(client, log, bytes(30_000))
    os.unlink(log.path)
    out = 0
    while client.waiting:
        out += len(read_all(sock))
        client.catch_up(log)
    assert out + len(read_all(sock)) == 40 * 30_000


def test_a_lagging_client_that_leaves(pair: Pair, log: logs.LogWriter) -> None:
    client, sock = pair
    for _ in range(40):
        put(client, log, bytes(30_000))
    sock.close()
    client.catch_up(log)
    assert not client.open
    assert not client.waiting
    put(client, log, b"more")
    client.control(b"x", b"")
    client.catch_up(log)


def test_without_a_log_it_is_kept_for_it(pair: Pair) -> None:
    client, sock = pair
    for _ in range(40):
        client.output(1, bytes(30_000), None, 0)
    out = 0
    while client.waiting:
        out += len(read_all(sock))
        client.catch_up(None)
    assert out + len(read_all(sock)) == 40 * 30_000


def test_packets_from_a_client(pair: Pair) -> None:
    client, sock = pair
    assert client.receive() is None
    sock.send(b"i" + bytes(65536))
    assert client.receive() == b"i" + bytes(65536)
    sock.send(b"i" + bytes(65537))
    assert client.receive() == b"", "half a packet would be input without its end"
    sock.close()
    assert client.receive() == b""
