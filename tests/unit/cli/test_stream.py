"""The foreground loop against a supervisor played by the test."""

from __future__ import annotations

import json
import os
import pty
import secrets
import select
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from knarr.cli.stream import KeyFilter
from knarr.kernel import tty as kernel_tty
from tests.support.waiting import PATIENCE

CHILD = Path(__file__).with_name("relay_child.py")
SOURCE = Path(__file__).resolve().parents[3] / "src"


class Supervisor:
    """The test's end of the attach socket, and the process that relays the other end."""

    def __init__(self, *options: str, **stdio: int) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        os.set_inheritable(theirs.fileno(), True)
        number = theirs.fileno()
        code = f"import os,sys;os.dup2({number},3);os.execv(sys.argv[1],sys.argv[1:])"
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-c", code, sys.executable, str(CHILD), *options],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            close_fds=False,
            start_new_session=True,
            stdin=stdio.get("stdin"),
            stdout=stdio.get("stdout"),
            stderr=stdio.get("stderr"),
        )
        theirs.close()

    def tell(self, kind: str, data: bytes = b"") -> None:
        self.socket.send(kind.encode() + data)

    def hear(self) -> tuple[str, bytes]:
        packet = self.socket.recv(1 << 20)
        return chr(packet[0]), packet[1:]

    def exit(self, code: int = 0) -> None:
        self.tell("x", json.dumps({"exit_code": code}).encode())

    def code(self) -> int:
        return self.process.wait(PATIENCE)


@pytest.fixture
def relay() -> Iterator[Callable[..., Supervisor]]:
    started: list[Supervisor] = []

    def start(*options: str, **stdio: int) -> Supervisor:
        started.append(Supervisor(*options, **stdio))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
        each.socket.close()
        for stream in (each.process.stdin, each.process.stdout, each.process.stderr):
            if stream is not None:
                stream.close()


Relay = Callable[..., Supervisor]
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def test_both_outputs_and_the_exit_code(relay: Relay) -> None:
    it = relay(**PIPES)
    it.tell("s", b'{"tty":false}')
    it.tell("o", b"out\x00\xff")
    it.tell("e", b"err")
    it.exit(42)
    out, err = it.process.communicate(timeout=PATIENCE)
    assert (out, err, it.code()) == (b"out\x00\xff", b"err", 42)


def test_only_the_chosen_outputs(relay: Relay) -> None:
    it = relay("stdout=0", **PIPES)
    it.tell("o", b"out")
    it.tell("e", b"err")
    it.exit()
    assert it.process.communicate(timeout=PATIENCE) == (b"", b"err")


def test_stdin_goes_in_and_is_closed(relay: Relay) -> None:
    it = relay("stdin=1", **PIPES)
    assert it.process.stdin is not None
    it.process.stdin.write(b"hi\n")
    it.process.stdin.close()
    assert it.hear() == ("i", b"hi\n")
    assert it.hear() == ("c", b"")
    it.exit(3)
    assert it.code() == 3


def test_without_i_stdin_stays_untouched(relay: Relay) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"for somebody else")
    it = relay(stdin=reader, stdout=subprocess.PIPE)
    it.exit()
    assert it.code() == 0
    assert os.read(reader, 100) == b"for somebody else"
    os.close(reader)
    os.close(writer)


def test_much_data_both_ways_arrives_whole(relay: Relay) -> None:
    it = relay("stdin=1", **PIPES)
    data = secrets.token_bytes(4 << 20)
    assert it.process.stdin is not None
    assert it.process.stdout is not None
    writer = it.process.stdin.fileno()
    reader = it.process.stdout.fileno()
    for fd in (writer, reader):
        os.set_blocking(fd, False)
    it.socket.setblocking(False)
    unsent, heard, echo, back = memoryview(data), bytearray(), memoryview(data), bytearray()
    poll = select.poll()
    poll.register(writer, select.POLLOUT)
    poll.register(reader, select.POLLIN)
    poll.register(it.socket, select.POLLIN | select.POLLOUT)
    while len(heard) < len(data) or len(back) < len(data):
        for fd, event in poll.poll(PATIENCE * 1000):
            if fd == writer:
                unsent = unsent[os.write(fd, unsent[:65536]) :]
                if not unsent:
                    poll.unregister(writer)
            elif fd == reader:
                back += os.read(fd, 1 << 20)
            else:
                if event & select.POLLIN:
                    taken = it.socket.recv(1 << 20)[1:]
                    heard += taken
                    it.socket.send(b"w%d" % len(taken))
                if event & select.POLLOUT and echo:
                    try:
                        it.socket.send(b"o" + echo[:32768])
                        echo = echo[32768:]
                    except BlockingIOError:
                        continue
                if not echo:
                    poll.modify(it.socket, select.POLLIN)
    assert heard == data
    assert back == data


def test_more_stdin_waits_until_the_container_reads(relay: Relay) -> None:
    it = relay("stdin=1", **PIPES)
    assert it.process.stdin is not None
    os.set_blocking(it.process.stdin.fileno(), False)
    heard = written = 0
    poll = select.poll()
    poll.register(it.process.stdin, select.POLLOUT)
    poll.register(it.socket, select.POLLIN)
    while ready := poll.poll(1000):  # until nothing moves any more
        for fd, _ in ready:
            if fd == it.socket.fileno():
                heard += len(it.socket.recv(1 << 20)) - 1
            else:
                written += os.write(fd, b"x" * 65536)
    assert heard < written < 2 << 20
    it.tell("w", b"%d" % heard)
    assert it.hear()[0] == "i"


def test_a_full_output_holds_the_container_back(relay: Relay) -> None:
    it = relay(**PIPES)
    it.socket.setblocking(False)
    sent = 0
    with pytest.raises(BlockingIOError):
        while sent < 64 << 20:
            poll = select.poll()
            poll.register(it.socket, select.POLLOUT)
            if not poll.poll(1000):
                raise BlockingIOError
            it.socket.send(b"o" + b"x" * 32768)
            sent += 32768
    assert it.process.stdout is not None
    got = len(os.read(it.process.stdout.fileno(), 1 << 20))
    it.socket.setblocking(True)
    it.exit()
    while chunk := os.read(it.process.stdout.fileno(), 1 << 20):
        got += len(chunk)
    assert got == sent


def test_the_flags_of_the_callers_pipe_stay(relay: Relay) -> None:
    reader, writer = os.pipe()
    it = relay(stdout=writer)
    it.tell("o", b"x")
    assert os.read(reader, 10) == b"x"
    assert os.get_blocking(writer)
    it.exit()
    assert it.code() == 0
    os.close(reader)
    os.close(writer)


def test_a_socket_as_stdout(relay: Relay) -> None:
    ours, theirs = socket.socketpair()
    it = relay(stdout=theirs.fileno())
    theirs.close()
    it.tell("o", b"through a socket")
    it.exit()
    assert ours.recv(100) == b"through a socket"
    assert it.code() == 0
    ours.close()


def test_signals_are_passed_on(relay: Relay) -> None:
    it = relay(**PIPES)
    it.tell("o", b"ready")
    assert it.process.stdout is not None
    assert it.process.stdout.read(5) == b"ready"
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        it.process.send_signal(number)
        assert it.hear() == ("k", str(int(number)).encode())
    it.exit(7)
    assert it.code() == 7


def test_signals_end_the_command_without_sig_proxy(relay: Relay) -> None:
    it = relay("sig_proxy=0", **PIPES)
    it.tell("o", b"ready")
    assert it.process.stdout is not None
    assert it.process.stdout.read(5) == b"ready"
    it.process.send_signal(signal.SIGTERM)
    assert it.code() == 128 + signal.SIGTERM
    assert it.socket.recv(100) == b""


def test_a_supervisor_that_dies_leaves_no_status(relay: Relay) -> None:
    it = relay(**PIPES)
    it.socket.close()
    assert it.code() == 251


def test_a_reader_that_goes_away_ends_the_command(relay: Relay) -> None:
    it = relay(**PIPES)
    assert it.process.stdout is not None
    it.process.stdout.close()
    it.tell("o", b"x")
    assert it.code() == 1  # a traceback here; the command itself turns it into SIGPIPE


class Terminal:
    """A pseudo-terminal whose slave is the command's stdin, stdout and stderr."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        kernel_tty.set_size(self.master, 33, 99)
        self.before = termios.tcgetattr(self.slave)

    def stdio(self) -> dict[str, int]:
        return {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave}

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def test_terminal_size_keys_and_restoring(relay: Relay, terminal: Terminal) -> None:
    it = relay("stdin=1", "tty=1", **terminal.stdio())
    assert it.hear() == ("r", b"[33, 99]")
    it.tell("o", b"prompt")
    assert os.read(terminal.master, 100) == b"prompt"
    assert terminal.is_raw()
    os.write(terminal.master, b"ls\x03\x1a\r")
    assert it.hear() == ("i", b"ls\x03\x1a\r")
    kernel_tty.set_size(terminal.master, 10, 20)
    it.process.send_signal(signal.SIGWINCH)
    assert it.hear() == ("r", b"[10, 20]")
    it.exit(5)
    assert it.code() == 5
    assert termios.tcgetattr(terminal.slave) == terminal.before


@pytest.mark.parametrize(("option", "typed"), [([], b"ab\x10\x11"), (["detach_keys=6162"], b"xab")])
def test_detach_keys(relay: Relay, terminal: Terminal, option: list[str], typed: bytes) -> None:
    it = relay("stdin=1", "tty=1", *option, **terminal.stdio())
    assert it.hear()[0] == "r"
    os.write(terminal.master, typed)
    assert it.hear() == ("i", typed[:-2])
    assert it.code() == 250
    assert termios.tcgetattr(terminal.slave) == terminal.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_killed_command_restores_the_terminal(
    relay: Relay, terminal: Terminal, number: signal.Signals
) -> None:
    it = relay("stdin=1", "tty=1", **terminal.stdio())
    assert it.hear()[0] == "r"
    it.tell("o", b"x")
    assert os.read(terminal.master, 1) == b"x"
    it.process.send_signal(number)
    assert it.code() == 128 + number
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_key_filter_holds_back_what_may_become_the_sequence() -> None:
    keys = KeyFilter(b"\x10\x11")
    assert keys.feed(b"a\x10") == b"a"
    assert keys.feed(b"b") == b"\x10b"
    assert keys.feed(b"\x10\x10") == b"\x10"
    assert keys.rest() == b"\x10"
    assert keys.feed(b"\x11") == b"\x11"
    assert keys.feed(b"typed before\x10\x11and after") == b"typed before"
    assert keys.complete
    assert KeyFilter(b"").feed(b"\x10\x11") == b"\x10\x11"
