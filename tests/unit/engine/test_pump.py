"""Moving bytes: detach keys, windows, and both directions at once."""

from __future__ import annotations

import json
import os
import socket
import threading

import pytest

from knarr.engine import pump
from knarr.engine.attach import WINDOW, Attachment
from knarr.errors import InvalidArgument, Timeout


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("ctrl-p,ctrl-q", b"\x10\x11"), ("ctrl-a,d", b"\x01d"), ("ctrl-@", b"\x00"),
        ("ctrl-[", b"\x1b"), ("ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x1c\x1d\x1e\x1f"), ("x", b"x"),
    ],
)  # fmt: skip
def test_detach_keys(text: str, keys: bytes) -> None:
    assert pump.parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["", "ctrl-", "ctrl-ab", "ab", "ctrl-p,", "ctrl-é"])
def test_bad_detach_keys(text: str) -> None:
    with pytest.raises(InvalidArgument, match="Unknown character"):
        pump.parse_detach_keys(text)


class Peer:
    """A supervisor's side of an attachment, with a container that echoes or ignores its input."""

    def __init__(self, *, take: bool = True) -> None:
        ours, self.sock = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.attachment = Attachment(ours, "c" * 64)
        self.received = bytearray()
        self.take = take
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while packet := self.sock.recv(1 << 20):
            if packet[:1] == b"i":
                self.received += packet[1:]
                if self.take:
                    self.sock.send(b"w%d" % (len(packet) - 1))
                    self.sock.send(b"o" + packet[1:])
            elif packet[:1] in (b"c", b"k"):
                self.closed.set()
                self.end(0 if packet[:1] == b"c" else 137)
                return

    def end(self, code: int) -> None:
        self.sock.send(b"x" + json.dumps({"exit_code": code}).encode())

    def close(self) -> None:
        self.attachment.close()
        self.thread.join()
        self.sock.close()


@pytest.fixture
def peer() -> object:
    made = Peer()
    yield made
    made.close()


def test_communicate_moves_more_than_any_buffer_holds(peer: Peer) -> None:
    data = os.urandom(5 * WINDOW)
    out, err, timed_out = pump.communicate(peer.attachment, data)
    assert (out == data, err, timed_out) == (True, b"", False)


def test_communicate_kills_when_time_is_up() -> None:
    peer = Peer(take=False)
    out, _, timed_out = pump.communicate(peer.attachment, b"x" * (3 * WINDOW), timeout=0.1)
    assert (out, timed_out) == (b"", True)
    assert peer.attachment.status is not None
    assert peer.attachment.status.exit_code == 137
    assert len(peer.received) <= WINDOW + (1 << 16)
    peer.close()


def test_write_waits_for_room_and_keeps_what_comes(peer: Peer) -> None:
    data = os.urandom(3 * WINDOW)
    peer.attachment.write(data)
    # this peer, unlike a supervisor, takes nothing while nobody takes what it echoes
    closer = threading.Thread(target=peer.attachment.close_stdin)
    closer.start()
    assert b"".join(piece for _, piece in peer.attachment.output(20)) == data
    closer.join()


def test_write_beside_a_reading_thread(peer: Peer) -> None:
    data = os.urandom(3 * WINDOW)
    seen: list[bytes] = []
    reader = threading.Thread(
        target=lambda: seen.extend(piece for _, piece in peer.attachment.output(20))
    )
    reader.start()
    peer.attachment.write(data)
    peer.attachment.close_stdin()
    reader.join()
    assert b"".join(seen) == data


def test_pump_between_descriptors(peer: Peer) -> None:
    inputs, outputs = os.pipe(), os.pipe()
    data = os.urandom(50_000)
    os.write(inputs[1], data)
    os.close(inputs[1])
    status = pump.pump(peer.attachment, stdin=inputs[0], stdout=outputs[1], stderr=None)
    assert status is not None
    assert os.read(outputs[0], 1 << 16) == data
    for end in (inputs[0], *outputs):
        os.close(end)


def test_pump_detaches_and_passes_on_half_a_sequence(peer: Peer) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"ab\x10c\x10\x10\x11rest")
    with pytest.raises(pump.Detached):
        pump.pump(peer.attachment, stdin=reader, stdout=None, detach_keys="ctrl-p,ctrl-q")
    os.close(writer)
    os.close(reader)


def test_the_end_of_a_connection_without_an_exit(peer: Peer) -> None:
    peer.sock.shutdown(socket.SHUT_RDWR)
    assert pump.communicate(peer.attachment) == (b"", b"", False)
    assert peer.attachment.status is None


def test_receiving_has_an_end(peer: Peer) -> None:
    with pytest.raises(Timeout):
        peer.attachment.receive(0.01)


def test_room_that_another_thread_saw_made(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer finds no room, and before it reads, another has read everything there was."""
    attachment, tried = peer.attachment, peer.attachment.try_write

    def late(data: bytes) -> bool:
        sent = tried(data)
        if not sent:
            while attachment._outstanding:
                attachment._stashed.append(attachment._receive())
            attachment._stashed.append(attachment._receive())  # the echo behind the last ``w``
        return sent

    monkeypatch.setattr(attachment, "try_write", late)
    data = os.urandom(3 * WINDOW)
    attachment.write(data)
    # as in the test above: this peer may have no room for it before its echo is taken
    closer = threading.Thread(target=attachment.close_stdin)
    closer.start()
    assert b"".join(piece for _, piece in attachment.output(20)) == data
    closer.join()
