"""What a caller says: it is taken as it is, or refused before anything has happened."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from knarr.warm import request
from knarr.warm.request import Refused, Request

PLACE = [b"knarr/1", b"/python3", b"1:2", b"mnt:[1]", b"user:[1]"]
FDS = [0, 1, 2, 3]
COMMAND = [b"/bin/knarr", b"ps"]


def packet(*arguments: bytes, count: bytes | None = None, rest: list[bytes] | None = None) -> bytes:
    """Return a message as a client puts it together."""
    number = b"%d" % len(arguments) if count is None else count
    return b"\0".join([*PLACE, b"18", number, *arguments, *([b"1"] if rest is None else rest)])


def test_a_request() -> None:
    said = Request(packet(b"/bin/knarr", b"", b"a\xff", rest=[b"0", b"A=1", b"B=x=y"]), FDS)
    assert (said.place, said.umask, said.foreground) == (PLACE, 18, False)
    assert said.argv == ["/bin/knarr", "", "a\udcff"]
    assert said.environ == [b"A=1", b"B=x=y"]
    assert Request(packet(*COMMAND), FDS).foreground


@pytest.mark.parametrize(
    ("data", "fds"),
    [
        (b"", FDS),
        (b"knarr/1", FDS),
        (packet(*COMMAND), []),
        (packet(*COMMAND), [0, 1, 2]),
        (packet(*COMMAND), [0, 1, 2, 3, 4]),
        (packet(*COMMAND, count=b"3"), FDS),
        (packet(*COMMAND, count=b"999999999"), FDS),
        (packet(*COMMAND, count=b"-8"), FDS),
        (packet(*COMMAND, count=b"many"), FDS),
        (packet(*COMMAND).replace(b"\x0018\0", b"\0x\0"), FDS),
    ],
)
def test_what_is_none(data: bytes, fds: list[int]) -> None:
    with pytest.raises((Refused, ValueError)):
        Request(data, fds)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a conversation."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        yield one, other


def test_descriptors_come_along(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    handle = os.open("/", os.O_PATH)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [handle] * 4))
    there.sendmsg([packet(*COMMAND)], [rights])
    os.close(handle)
    said = request.receive(here)
    assert said.argv == ["/bin/knarr", "ps"]
    assert [os.readlink(f"/proc/self/fd/{fd}") for fd in said.fds] == ["/"] * 4
    assert not any(os.get_inheritable(fd) for fd in said.fds)
    for fd in said.fds:
        os.close(fd)


def test_a_packet_that_was_cut_off(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    here.settimeout(10)
    there.settimeout(10)
    try:
        there.send(packet(*COMMAND, rest=[b"1", b"A=" + b"x" * (300 << 10)]))
    except OSError:
        pytest.skip("this machine lets nobody send so much")
    with pytest.raises(Refused):
        request.receive(here)


def test_more_descriptors_than_can_be_taken(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 20))
    there.sendmsg([packet(*COMMAND)], [rights])
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(Refused):
        request.receive(here)
    for fd in set(os.listdir("/proc/self/fd")) - before:  # a worker that has refused ends
        with suppress(OSError):  # the listing's own
            os.close(int(fd))


def test_the_environment_is_the_callers_and_no_other() -> None:
    """Of several variables with one name the first counts, as for getenv(3)."""
    script = (
        "import os; from knarr.warm.request import _take_environment as take;"
        "take([b'A=1', b'A=2', b'=x', b'none', b'C=', b'D=\\xff']);"
        "print(sorted(os.environb.items()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "MINE": "1", "C": "other"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{[(b'A', b'1'), (b'C', b''), (b'D', bytes([255]))]}\n"
