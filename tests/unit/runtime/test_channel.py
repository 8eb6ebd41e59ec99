"""Messages between a container's first process and its parent."""

from __future__ import annotations

import os
import socket

import pytest

from knarr.runtime.channel import Channel
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.packets import MAX_FDS


def test_messages_keep_their_boundaries_and_order() -> None:
    left, right = Channel.pair()
    for number in range(5):
        left.send({"n": number, "text": "\u00e9\0"})
    for number in range(5):
        assert right.receive() == ({"n": number, "text": "\u00e9\0"}, [])
    left.close()
    right.close()


def test_descriptors_travel_close_on_exec() -> None:
    left, right = Channel.pair()
    reader, writer = os.pipe()
    left.send({}, [writer])
    os.close(writer)
    _, (got,) = right.receive()
    assert not os.get_inheritable(got)
    os.write(got, b"x")
    os.close(got)
    assert os.read(reader, 10) == b"x"
    os.close(reader)
    left.close()
    right.close()


def test_a_large_message_travels_in_memory() -> None:
    left, right = Channel.pair()
    before = len(os.listdir("/proc/self/fd"))
    text = "x" * 3_000_000
    left.send({"text": text}, [0])
    message, fds = right.receive()
    assert message == {"text": text}
    assert len(fds) == 1
    os.close(fds[0])
    assert len(os.listdir("/proc/self/fd")) == before
    left.close()
    right.close()


def test_the_peers_death_is_the_end() -> None:
    left, right = Channel.pair()
    left.send({"last": 1})
    left.close()
    assert right.receive()[0] == {"last": 1}
    with pytest.raises(EOFError):
        right.receive()
    with pytest.raises(OSError):
        right.send({})
    right.close()


def test_too_many_descriptors() -> None:
    left, right = Channel.pair()
    with pytest.raises(OSError):
        left.send({}, [0] * (MAX_FDS + 1))
    left.close()
    right.close()


@pytest.mark.parametrize("body", [b"j{", b"j", b"m", b"jnull", b"j[]", b"x"])
def test_what_is_no_message_leaks_nothing(body: bytes) -> None:
    left, right = Channel.pair()
    before = len(os.listdir("/proc/self/fd"))
    with socket.socket(fileno=os.dup(left.fileno())) as sock:
        socket.send_fds(sock, [body], [0, 1])
    with pytest.raises(ValueError):
        right.receive()
    assert len(os.listdir("/proc/self/fd")) == before
    left.close()
    right.close()


def test_a_failure_as_json_and_back() -> None:
    failure = RuntimeFailure("not-found", "exec", "no such file", 2)
    again = RuntimeFailure.from_dict(failure.to_dict())
    assert (again.kind, again.step, again.message, again.errno) == (
        "not-found",
        "exec",
        "no such file",
        2,
    )
    empty = RuntimeFailure.from_dict({"errno": "x"})
    assert (empty.kind, empty.errno) == ("error", 0)
