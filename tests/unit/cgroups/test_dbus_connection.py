"""The client against a peer of our own that speaks from a script."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from knarr.cgroups import dbus

TARGET = ("/o", "i.face", "Method")


def answer(kind: int, serial: int, signature: str, body: bytes, error: str = "") -> bytes:
    writer = dbus.Writer()
    writer.data += struct.pack("<cBBBII", b"l", kind, 0, 1, len(body), 1)
    fields: list[tuple[int, tuple[str, object]]] = [(8, ("g", signature))]
    fields += [(5, ("u", serial))] if kind != dbus.SIGNAL else [(3, ("s", "JobRemoved"))]
    fields += [(4, ("s", error))] if error else []
    writer.put("a(yv)", fields)
    writer.align(8)
    return bytes(writer.data) + body


@contextmanager
def peer(path: Path, script: Callable[[socket.socket], None], greeting: bytes) -> Iterator[str]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(4096).endswith(b"\r\nBEGIN\r\n")
            connection.sendall(greeting)
            if greeting.startswith(b"OK"):
                script(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    yield str(path)
    thread.join(10)
    listener.close()


def test_call_keeps_signals_that_come_before_the_answer(tmp_path: Path) -> None:
    def script(connection: socket.socket) -> None:
        connection.recv(4096)
        data = answer(dbus.SIGNAL, 0, "u", b"\x05\0\0\0") + answer(dbus.RETURN, 1, "s", STRING)
        for at in range(0, len(data), 7):
            connection.sendall(data[at : at + 7])

    with (
        peer(tmp_path / "s", script, b"OK 1234\r\n") as path,
        dbus.Connection(path, bus=False) as connection,
    ):
        assert connection.call("x", TARGET) == ("yes",)
        assert connection.signal().body == (5,)


STRING = b"\x03\0\0\0yes\0"


def test_error_answer(tmp_path: Path) -> None:
    def script(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer(dbus.ERROR, 1, "s", STRING, "a.b.NoSuchUnit"))

    with (
        peer(tmp_path / "s", script, b"OK 1234\r\n") as path,
        dbus.Connection(path, bus=False) as connection,
        pytest.raises(dbus.DBusError, match="yes") as caught,
    ):
        connection.call("x", TARGET)
    assert caught.value.name == "a.b.NoSuchUnit"


def test_refused_authentication_names_the_socket(tmp_path: Path) -> None:
    with (
        peer(tmp_path / "s", lambda _: None, b"REJECTED EXTERNAL\r\n") as path,
        pytest.raises(PermissionError, match="REJECTED") as caught,
    ):
        dbus.Connection(path, bus=False)
    assert caught.value.filename == path


def test_a_peer_that_goes_away(tmp_path: Path) -> None:
    with (
        peer(tmp_path / "s", lambda _: None, b"OK 1\r\n") as path,
        dbus.Connection(path, bus=False) as connection,
        pytest.raises((ConnectionResetError, BrokenPipeError)),
    ):
        connection.call("x", TARGET)


def test_no_answer_ends_with_a_timeout(tmp_path: Path) -> None:
    done = threading.Event()
    with (
        peer(tmp_path / "s", lambda _: (done.wait(10), None)[1], b"OK 1\r\n") as path,
        dbus.Connection(path, bus=False, timeout=0.05) as connection,
    ):
        with pytest.raises(TimeoutError, match=r"no answer for 0\.05 s"):
            connection.call("x", TARGET)
        done.set()
