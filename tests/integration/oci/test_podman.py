"""Debian's podman, which drives a runtime through conmon."""

from __future__ import annotations

import shutil

import pytest

from tests.support.bundles import Oci
from tests.support.podman import Podman
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("podman") is None, reason="needs podman"),
]


def test_podman_runs_containers(podman: Podman, oci: Oci) -> None:
    assert podman.run("--rm", "box", "echo", "hello") == "hello\n"
    podman.run("--rm", "box", "sh", "-c", "exit 7", status=7)
    assert "executable file not found in $PATH" in podman.run("--rm", "box", "nosuch", status=127)
    assert podman.run("--rm", "--user", "1000", "box", "id", "-u") == "1000\n"
    assert podman.run("--rm", "--tty", "box", "tty").strip() == "/dev/pts/0"
    read_only = ("--read-only", "--read-only-tmpfs=false")
    assert podman.run("--rm", *read_only, "box", "sh", "-c", "echo >/x || echo no") == "no\n"
    assert oci("list", "-q") == ""


def test_podman_keeps_one_in_the_background(podman: Podman) -> None:
    podman.run("--detach", "--name", "away", "box", "sh", "-c", "echo said; exec sleep 1000")
    wait_until(lambda: podman("logs", "away") == "said\n")
    assert podman("inspect", "--format", "{{.State.Status}}", "away") == "running\n"
    podman("kill", "--signal", "KILL", "away")
    assert podman("wait", "away") == "137\n"
    podman("rm", "away")
