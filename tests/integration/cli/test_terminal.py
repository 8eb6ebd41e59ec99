"""Terminals: size, keys, detaching, and a terminal that is always given back."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest

from knarr.kernel import tty as kernel_tty
from tests.support.installations import Installation
from tests.support.waiting import PATIENCE, wait_until


class Terminal:
    """A terminal with one command on it, as a person would use it."""

    def __init__(self, box: Installation) -> None:
        self._box = box
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.resize(33, 99)
        self.seen = b""
        self._processes: list[subprocess.Popen[bytes]] = []

    def resize(self, rows: int, columns: int) -> None:
        kernel_tty.set_size(self.master, rows, columns)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        process = self._box.start(
            *words, stdin=self.slave, stdout=self.slave, stderr=self.slave, process_group=0
        )
        self._processes.append(process)
        return process

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, pattern: str) -> str:
        """Read until ``pattern`` has appeared; return the match."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern.encode(), self.seen)):
            ready = select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0]
            assert ready, self.seen
            self.seen += os.read(self.master, 65536)
        self.seen = self.seen[found.end() :]
        return found[0].decode()

    def given_back(self) -> bool:
        """Return whether the terminal's settings are what they were."""
        return termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(PATIENCE)
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(box: Installation) -> Iterator[Terminal]:
    made = Terminal(box)
    yield made
    made.close()


def test_a_shell(terminal: Terminal) -> None:
    process = terminal.start("run", "-it", "--rm", "busybox", "sh")
    terminal.expect("# ")
    assert not terminal.given_back()
    terminal.type("stty size; tty\r")
    terminal.expect("33 99\r\n/dev/pts/0\r\n")
    terminal.expect("# ")
    terminal.resize(20, 60)
    process.send_signal(signal.SIGWINCH)
    terminal.type("while ! stty size | grep '20 60'; do :; done\r")
    terminal.expect("\n20 60\r\n")
    terminal.expect("# ")
    terminal.type("sh -c 'echo read\"\"y; cat'\r")
    terminal.expect("ready\r\n")
    terminal.type("hello\r")
    terminal.expect("hello\r\nhello\r\n")
    terminal.type("\x03")
    terminal.expect(r"\^C")
    terminal.expect("# ")
    terminal.type("echo code $?; exit 5\r")
    terminal.expect("code 130\r\n")
    assert process.wait(PATIENCE) == 5
    assert terminal.given_back()


def test_a_command_sees_the_size_at_once(terminal: Terminal) -> None:
    for _ in range(5):
        process = terminal.start("run", "-it", "--rm", "busybox", "stty", "size")
        terminal.expect("33 99\r\n")
        assert process.wait(PATIENCE) == 0


def test_detach_and_attach_again(terminal: Terminal, box: Installation) -> None:
    process = terminal.start("run", "-it", "--name", "one", "busybox", "sh")
    terminal.expect("# ")
    terminal.type("x=kept\r\x10\x11")
    assert process.wait(PATIENCE) == 0
    assert terminal.given_back()
    assert box.run("ps", "--format", "{{.Names}}")[1] == b"one\n"
    process = terminal.start("attach", "--detach-keys", "ctrl-a,d", "one")
    terminal.type("echo $x\r")
    terminal.expect("kept\r\n")
    terminal.type("\x01d")
    terminal.expect("read escape sequence")
    assert process.wait(PATIENCE) == 1
    process = terminal.start("attach", "one")
    terminal.type("exit 7\r")
    assert process.wait(PATIENCE) == 7
    box.run("rm", "one")


def test_exec_with_a_terminal(terminal: Terminal, box: Installation) -> None:
    box.run("run", "-d", "--name", "one", "busybox", "sleep", "60")
    process = terminal.start("exec", "-it", "one", "sh")
    terminal.expect("# ")
    terminal.type("stty size; exit 4\r")
    terminal.expect("33 99\r\n")
    assert process.wait(PATIENCE) == 4
    assert terminal.given_back()
    box.run("rm", "-f", "one")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_a_killed_command_gives_the_terminal_back(
    terminal: Terminal, box: Installation, number: signal.Signals
) -> None:
    process = terminal.start("run", "-it", "--name", "one", "busybox", "sh")
    terminal.expect("# ")
    process.send_signal(number)
    assert process.wait(PATIENCE) == -number
    wait_until(terminal.given_back)
    wait_until(lambda: not box.workers())
    assert box.run("ps", "--format", "{{.Names}}")[1] == b"one\n"
    box.run("rm", "-f", "one")


def test_output_on_a_terminal_without_one_in_the_container(
    terminal: Terminal, box: Installation
) -> None:
    process = terminal.start("run", "--rm", "busybox", "sh", "-c", "echo a; tty")
    terminal.expect("a\r\nnot a tty\r\n")
    assert process.wait(PATIENCE) == 1
    assert box.run("ps", "-aq")[1] == b""
