"""A thin command of each kind, with a server of the test's own at the other end.

All three are held to the same: the native client of this machine, that of the other machine in
an emulator, and the Python half of the script.
"""

from __future__ import annotations

import array
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.support.machinecode import MACHINES, emulator
from tests.support.waiting import PATIENCE, wait_until

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPT = REPOSITORY / "scripts" / "knarr"


def words_of(kind: str, python: str) -> list[str]:
    """Return what starts the thin command of a kind; skips what cannot be had here."""
    if kind == "python":
        return [sys.executable, "-I", "-S", "-E", str(SCRIPT)]
    client = str(REPOSITORY / "client" / f"client-{kind}")
    return [*emulator(kind), client, "--from-script", python, str(SCRIPT)]


class Thin:
    """A thin command of one kind, and the place where it looks for a server."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.python = str(folder / "python3")
        Path(self.python).write_text('#!/bin/sh\necho "here: $* $KNARR_SERVER"\nexit 42\n')
        Path(self.python).chmod(0o755)
        self.words = words_of(kind, self.python)
        self.environment = {"KNARR_RUN_ROOT": str(folder), "A": "1"}
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.settimeout(PATIENCE)
        self.address = str(folder / "command.sock")
        self.opened: list[socket.socket | Conversation] = [self.listener]

    def listen(self) -> Self:
        """Put a socket to its place."""
        self.listener.bind(self.address)
        self.listener.listen(8)
        return self

    def start(self, *words: str, **options: object) -> subprocess.Popen[bytes]:
        """Start the command; options as for Popen, streams are pipes."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        chosen = {**pipes, "env": self.environment, **options}
        return subprocess.Popen([*self.words, *words], **chosen)  # type: ignore[call-overload,no-any-return]

    def accept(self, hello: bytes = b"H") -> socket.socket:
        """Take the connection of a command and greet it."""
        link, _ = self.listener.accept()
        self.opened.append(link)
        link.settimeout(PATIENCE)
        if hello:
            link.send(hello)
        return link

    def serve(self, *words: str, **options: object) -> tuple[subprocess.Popen[bytes], Conversation]:
        """Start the command and take its request; it waits for an answer then."""
        process = self.start(*words, **options)
        there = self.request()
        if self.kind == "python":  # until it does a signal kills it
            wait_until(lambda: "poll" in Path(f"/proc/{process.pid}/wchan").read_text())
        return process, there

    def request(self) -> Conversation:
        """Take the connection and the request of a command."""
        there = Conversation(self.accept())
        self.opened.append(there)
        return there

    def runs_here(self, process: subprocess.Popen[bytes], server: str = "start") -> None:
        """Check that a command becomes ``python -I -m knarr.cli``."""
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out.decode(), err) == (
            42, f"here: -I -m knarr.cli ps -a {server}\n", b"",
        )  # fmt: skip


class Conversation:
    """The worker's end after the request: its words and its descriptors."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        data, control, flags, _ = link.recvmsg(1 << 20, 1024)
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        self.words = data.split(b"\0")
        fds = array.array("i")
        for level, kind, body in control:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            fds.frombytes(body)
        self.fds = list(fds)

    def close(self) -> None:
        """Close the caller's descriptors, as a worker does at the end."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def say(self, word: bytes) -> None:
        """Send one word."""
        self.close()
        self.link.send(word)

    def hear(self) -> bytes:
        """Return the next packet."""
        return self.link.recv(64)


def ends(process: subprocess.Popen[bytes]) -> int:
    """Return the exit code of a command that has nothing more to say."""
    _, err = process.communicate(timeout=PATIENCE)
    assert err == b""
    return process.returncode


@pytest.fixture(params=[*MACHINES, "python"])
def thin(request: pytest.FixtureRequest) -> Iterator[Thin]:
    """A thin command of each kind."""
    folder = Path(tempfile.mkdtemp(prefix="kc-"))
    try:
        made = Thin(request.param, folder)
        yield made
        for thing in made.opened:
            thing.close()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def native(thin: Thin) -> Thin:
    """A native client of each machine: what the Python half does here has no place for a double."""
    if thin.kind == "python":
        pytest.skip("only for native clients")
    return thin
