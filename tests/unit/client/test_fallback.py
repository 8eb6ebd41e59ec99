"""Where there is no server, or none for it, a thin command becomes the whole command."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE
from tests.unit.client.conftest import Thin


def test_without_a_server_it_runs_here(native: Thin) -> None:
    native.runs_here(native.start("ps", "-a"))


def test_a_stale_socket_is_no_server(native: Thin) -> None:
    native.listen().listener.close()
    native.runs_here(native.start("ps", "-a"))


def test_off_means_off(native: Thin) -> None:
    native.listen()
    for value, offered in (("off", False), ("", True), ("office", True)):
        native.environment["KNARR_SERVER"] = value
        process = native.start("ps", "-a")
        if offered:
            native.request().say(b"N")
        native.runs_here(process, value)


def test_refused_it_runs_here_as_if_nothing_had_been(native: Thin) -> None:
    process, there = native.listen().serve("ps", "-a", process_group=0)
    mask = Path(f"/proc/{process.pid}/status").read_text()
    assert "SigBlk:\t0000000000000000" not in mask or native.kind != platform.machine()
    Path(native.python).write_text("#!/bin/sh\ngrep SigBlk /proc/self/status\nls /proc/$$/fd\n")
    there.say(b"N")
    out, err = process.communicate(timeout=PATIENCE)
    assert err == b""
    blocked, *fds = out.decode().split("\n")
    if native.kind == platform.machine():
        assert blocked == "SigBlk:\t0000000000000000"
        assert set(fds) <= {"0", "1", "2", "10", "255", ""}  # 10, 255: what sh reads the script by


def test_what_fits_no_packet_runs_here(native: Thin) -> None:
    native.listen()
    native.environment |= {f"V{number}": "x" * 100_000 for number in range(6)}
    Path(native.python).write_text('#!/bin/sh\necho "$* ${#V0} ${#V5}"\n')
    process = native.start("ps", "-a")
    link = native.accept()
    out, _ = process.communicate(timeout=PATIENCE)
    assert out == b"-I -m knarr.cli ps -a 100000 100000\n"
    assert link.recv(10) == b""  # nothing was handed over


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_closed_descriptors_are_not_handed_on(native: Thin, closed: int) -> None:
    native.listen()
    Path(native.python).write_text('#!/bin/sh\nls -l /proc/$$/fd >"$KNARR_RUN_ROOT/fds"\n')
    process = native.start("ps", "-a", preexec_fn=lambda: os.close(closed))
    process.communicate(timeout=PATIENCE)
    assert "socket:" not in (Path(native.python).parent / "fds").read_text()


def test_a_server_of_somebody_else_is_told_nothing(native: Thin) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    folder = Path(native.python).parent
    folder.chmod(0o777)
    hear, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setuid(65534)
            native.listen()
            os.chmod(native.address, 0o666)
            os.write(say, b"r")
            link = native.accept(b"")
            os._exit(1 if link.recv(10) else 0)
        finally:
            os._exit(2)
    assert os.read(hear, 1) == b"r"
    native.runs_here(native.start("ps", "-a"))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(hear)
    os.close(say)


@pytest.mark.slow
def test_a_server_that_does_not_greet_is_left_alone(native: Thin) -> None:
    native.listen()
    process = native.start("ps", "-a")
    link = native.accept(b"")
    native.runs_here(process)
    assert link.recv(10) == b""


def test_a_greeting_that_is_none(native: Thin) -> None:
    native.listen()
    process = native.start("ps", "-a")
    native.accept(b"HH")
    native.runs_here(process)


@pytest.mark.parametrize(("python", "code"), [("/no/python3", 127), ("/etc/passwd", 126)])
def test_no_python(native: Thin, python: str, code: int) -> None:
    words = [python if word == native.python else word for word in native.words]
    done = subprocess.run(
        words, env=native.environment, capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == code
    assert done.stderr.decode() == f"knarr: cannot execute {python}\n"
