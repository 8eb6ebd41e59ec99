"""knarr's init as pid 1 of a pid namespace: reaping, forwarding, terminals."""

from __future__ import annotations

import fcntl
import os
import platform
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from knarr.runtime import init
from tests.support.processes import children

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="no init for this machine"
)


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "init"
    path.write_bytes(init.blob())
    path.chmod(0o755)
    return str(path)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        select.select([], [], [], 0.005)


def start(program: str, *command: str) -> subprocess.Popen[str]:
    """Start init as pid 1 of a new pid namespace with a /proc of its own."""
    return subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", program, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def init_pid(process: subprocess.Popen[str], program: str) -> int:
    """Return init's pid on the host, once it is init."""

    def is_there() -> bool:
        found = children(process.pid)
        return bool(found) and os.readlink(f"/proc/{found[0]}/exe") == program

    until(is_there, "init did not start")
    return children(process.pid)[0]


def test_orphans_are_reaped(program: str) -> None:
    script = "(sh -c 'echo orphan & exec true' &) ; sleep 0 ; exec cat"
    with start(program, "--", "/bin/sh", "-c", script) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "orphan\n"
        pid = init_pid(process, program)
        until(lambda: len(children(pid)) == 1, "zombies are left")
        process.stdin.close()
        assert process.wait(20) == 0


def test_many_orphans_at_once_are_reaped(program: str) -> None:
    script = "for i in $(seq 200); do (true &) ; done; echo done; exec cat"
    with start(program, "--", "/bin/sh", "-c", script) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        pid = init_pid(process, program)
        until(lambda: len(children(pid)) == 1, "zombies are left")
        process.stdin.close()
        assert process.wait(20) == 0


def test_waiting_init_reaps_what_others_leave(program: str) -> None:
    with start(program) as process:
        pid = init_pid(process, program)
        enter = ["nsenter", "-t", str(pid), "-p", "-m", "/bin/sh", "-c"]
        subprocess.run([*enter, "(sleep 0 & sleep 0 &)"], check=True)
        until(lambda: not children(pid), "zombies are left")
        os.kill(pid, signal.SIGTERM)
        assert process.wait(20) == 143


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -KILL $$", 137)])
def test_exit_code_as_pid_one(program: str, script: str, code: int) -> None:
    with start(program, "--", "/bin/sh", "-c", script) as process:
        assert process.wait(20) == code


def test_signals_from_inside_the_namespace_arrive_too(program: str) -> None:
    script = (
        "import os, signal as s; s.pthread_sigmask(s.SIG_BLOCK, {s.SIGTERM});"
        "os.kill(1, s.SIGTERM); s.sigwait({s.SIGTERM}); print('got', flush=True); os._exit(9)"
    )
    with start(program, "--", sys.executable, "-I", "-S", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "got\n"
        assert process.wait(20) == 9


def test_command_gone_ends_everything_else(program: str) -> None:
    with start(program, "--", "/bin/sh", "-c", "sleep 1000 & echo $!; exit 4") as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.stdout.read() == ""  # end of file: the sleeper is gone with its namespace
        assert process.wait(20) == 4


def test_command_is_the_foreground_group_of_its_terminal(program: str) -> None:
    master, slave = pty.openpty()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for number in (0, 1, 2):
            os.dup2(slave, number)
        script = (
            "import os, signal as s; s.pthread_sigmask(s.SIG_BLOCK, {s.SIGINT});"
            "print(os.getpgrp(), os.tcgetpgrp(0), flush=True);"
            "s.sigwait({s.SIGINT}); print('interrupted', flush=True); os._exit(5)"
        )
        os.execv(program, [program, "--", sys.executable, "-I", "-S", "-c", script])
    os.close(slave)
    try:
        output = b""
        while output.count(b"\n") < 1:
            output += os.read(master, 4096)
        group, foreground = output.split()[:2]
        assert group == foreground
        assert int(group) != pid
        assert struct.unpack("i", fcntl.ioctl(master, termios.TIOCGPGRP, bytes(4)))[0] == int(group)
        os.write(master, b"\x03")
        while b"interrupted" not in output:
            output += os.read(master, 4096)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    finally:
        os.close(master)
