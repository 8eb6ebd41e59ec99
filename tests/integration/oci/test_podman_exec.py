"""``podman exec`` and health checks, for which podman has conmon call ``exec``."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess

import pytest

from tests.support.podman import Podman
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("podman") is None, reason="needs podman"),
]


@pytest.fixture
def away(podman: Podman) -> str:
    podman.run("--detach", "--name", "away", "box", "sleep", "1000")
    return "away"


def test_podman_exec(podman: Podman, away: str) -> None:
    assert podman("exec", away, "echo", "hello") == "hello\n"
    podman("exec", away, "sh", "-c", "exit 7", status=7)
    assert podman("exec", "--user", "alice", away, "id", "-un") == "alice\n"
    assert podman("exec", "--workdir", "/tmp", "-e", "A=b", away, "sh", "-c", "pwd; echo $A") == (
        "/tmp\nb\n"
    )
    assert podman("exec", "--privileged", away, "sh", "-c", "echo done") == "done\n"
    missing = podman("exec", away, "nosuch", status=127)
    assert "executable file not found in $PATH" in missing
    assert "permission denied" in podman("exec", away, "/etc/passwd", status=126).lower()
    said = podman("exec", "--workdir", "/nosuch", away, "true", status=127)
    assert "no such file or directory" in said.lower()


def test_podman_exec_in_the_background(podman: Podman, away: str) -> None:
    podman("exec", "--detach", away, "sh", "-c", "echo there >/tmp/mark; exec sleep 1000")
    wait_until(lambda: podman("exec", away, "cat", "/tmp/mark", status=0) == "there\n")
    assert podman("top", away, "args").count("sleep 1000") == 2


def test_podman_exec_with_input(podman: Podman, away: str) -> None:
    done = subprocess.run(
        [*podman.head, "exec", "-i", away, "cat"],
        input="through\n", capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "through\n"


def test_podman_exec_on_a_terminal(podman: Podman, away: str) -> None:
    """As somebody at a keyboard has it: the terminal is conmon's, and ours for the program."""
    ours, theirs = pty.openpty()
    try:
        line = [*podman.head, "exec", "-it", away, "sh", "-c", "tty; read word; echo got $word"]
        with subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.write(ours, b"hello\n")
            assert process.wait(120) == 0
        os.set_blocking(ours, False)
        said = os.read(ours, 4096)
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"/dev/pts/" in said
    assert b"got hello" in said


def test_podman_health_check(podman: Podman) -> None:
    check = ("--health-cmd", "test -e /tmp/well", "--health-interval", "disable")
    podman.run("--detach", "--name", "ill", *check, "box", "sleep", "1000")
    podman("healthcheck", "run", "ill", status=1)
    podman("exec", "ill", "touch", "/tmp/well")
    podman("healthcheck", "run", "ill")


def test_podman_exec_in_a_paused_container(podman: Podman, away: str) -> None:
    podman("pause", away)
    podman("exec", away, "true", status=255)
    podman("unpause", away)
    assert podman("exec", away, "echo", "again") == "again\n"
