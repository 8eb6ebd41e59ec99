"""Packets to real sockets: what is in them, and what becomes of them when nobody reads."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from knarr.supervisor.senders import Sender, field

if TYPE_CHECKING:
    from knarr.supervisor.lines import Line

NOON = 1_700_000_000_123_456_789


def _line(text: str, stream: int = 1, part: int = 0, whole: bool = True) -> Line:
    return (stream, NOON, text.encode(), part, whole, NOON)


def _syslog(where: object, kind: str = "dgram", **more: Any) -> dict[str, Any]:
    return {
        "kind": "syslog", "addresses": [[kind, where]], "buffer": 0, "facility": 3, "format": "",
        "host": "here", "tag": "web", **more,
    }  # fmt: skip


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "log"))
        sock.settimeout(10)
        yield sock


def test_the_forms_of_syslog(receiver: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-2")
    import time

    time.tzset()
    pid = os.getpid()
    forms = {
        "": f"<30>Nov 15 00:13:20 web[{pid}]: hello\n",
        "rfc3164": f"<30>Nov 15 00:13:20 here web[{pid}]: hello\n",
        "rfc5424": f"<30>1 2023-11-15T00:13:20+02:00 here web {pid} web - hello\n",
        "rfc5424micro": f"<30>1 2023-11-15T00:13:20.123456+02:00 here web {pid} web - hello\n",
    }
    try:
        for form, wanted in forms.items():
            sender = Sender(_syslog(receiver.getsockname(), format=form))
            sender.send([_line("hello")])
            assert receiver.recv(1000).decode() == wanted
            sender.close()
    finally:
        monkeypatch.undo()
        time.tzset()


def test_errors_have_their_severity(receiver: socket.socket) -> None:
    sender = Sender(_syslog(receiver.getsockname(), facility=16))
    sender.send([_line("bad", stream=2)])
    assert receiver.recv(1000).startswith(b"<131>")
    sender.close()


def test_the_journals_protocol(receiver: socket.socket) -> None:
    config = {
        "kind": "journal", "addresses": [["dgram", receiver.getsockname()]], "buffer": 0,
        "fields": {"CONTAINER_NAME": "web", "LABEL": "two\nlines"}, "partial": "abc",
    }  # fmt: skip
    sender = Sender(config)
    sender.send([_line("hello"), _line("part", part=1, whole=False)])
    packed = struct.pack("<Q", 9)
    assert receiver.recv(1000) == (
        b"CONTAINER_NAME=web\nLABEL\n" + packed + b"two\nlines\nPRIORITY=6\n"
        b"SYSLOG_TIMESTAMP=2023-11-14T22:13:20.123456789Z\nMESSAGE=hello\n"
    )
    second = receiver.recv(1000)
    assert b"CONTAINER_PARTIAL_MESSAGE=true\n" in second
    assert b"CONTAINER_PARTIAL_ORDINAL=1\nCONTAINER_PARTIAL_LAST=false\n" in second
    assert field("A", b"b") == b"A=b\n"
    sender.close()


def test_who_does_not_read_is_waited_for(receiver: socket.socket) -> None:
    sender = Sender(_syslog(receiver.getsockname()))
    lines = [_line(f"{number} " + "x" * 1000) for number in range(2000)]
    sender.send(lines)
    assert sender.full
    got = 0
    while got < len(lines):
        receiver.recv(5000)
        got += 1
        if sender.waiting and select.select([], [sender.fd], [], 0)[1]:
            sender.flush()
    assert not sender.waiting
    assert sender.dropped == 0
    sender.close()


def test_with_a_buffer_nobody_waits(receiver: socket.socket) -> None:
    with contextlib.closing(Sender(_syslog(receiver.getsockname(), buffer=20_000))) as sender:
        sender.send([_line("x" * 1000) for _ in range(2000)])
        assert not sender.full
        assert sender.waiting
        assert sender.dropped > 100


def test_a_buffer_is_sent_before_anything_is_dropped(receiver: socket.socket) -> None:
    """Nothing is lost as long as the receiver's queue has room, however small the buffer."""
    room = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        probe.connect(receiver.getsockname())
        with contextlib.suppress(BlockingIOError):
            while room < 1000:
                probe.send(b"x" * 1000)
                room += 1
    for _ in range(room):
        receiver.recv(5000)
    with contextlib.closing(Sender(_syslog(receiver.getsockname(), buffer=2000))) as sender:
        sender.send([_line("x" * 900) for _ in range(room)])
        assert (sender.waiting, sender.dropped) == (False, 0)


def test_a_receiver_that_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "log")
    clock = [0.0]
    monkeypatch.setattr("knarr.supervisor.senders.time.monotonic", lambda: clock[0])
    sender = Sender(_syslog(path))
    sender.send([_line("nobody"), _line("there")])
    assert (sender.dropped, sender.waiting) == (2, False)
    for name in ("first", "second"):
        clock[0] += 2
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(path)
            sender.send([_line(name)])
            assert sock.recv(1000).endswith(name.encode() + b"\n")
        os.unlink(path)
    sender.close()


def test_a_stream_in_pieces() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = Sender(_syslog(list(server.getsockname()), kind="stream"))
        lines = [_line(f"{number} " + "x" * 10_000) for number in range(1000)]
        sender.send(lines)
        connection, _ = server.accept()
        data = b""
        with connection:
            connection.settimeout(10)
            while data.count(b"\n") < len(lines):
                if sender.waiting:
                    sender.flush()
                data += connection.recv(1 << 20)
        assert [int(line.split(b": ")[1].split()[0]) for line in data.splitlines()] == list(
            range(1000)
        )
        assert sender.dropped == 0
        sender.close()


def test_a_refused_stream_is_no_loop() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = list(server.getsockname())
    sender = Sender(_syslog(address, kind="stream"))
    sender.send([_line("a"), _line("b")])
    for _ in range(5):
        if sender.waiting:
            select.select([], [sender.fd], [], 10)
            sender.flush()
    assert (sender.dropped, sender.waiting) == (2, False)
    sender.close()
