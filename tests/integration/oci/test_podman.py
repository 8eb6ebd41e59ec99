"""Debian's podman, which drives a runtime through conmon."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Oci
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("podman") is None, reason="needs podman"),
]


class Podman:
    """podman with storage of its own, and our runtime."""

    def __init__(self, oci: Oci, folder: Path) -> None:
        self.head = [
            "podman", "--root", str(folder / "root"), "--runroot", str(folder / "run"),
            "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none",
            "--runtime", str(oci.program),
        ]  # fmt: skip

    def __call__(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            [*self.head, *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == status, (words, done.returncode, done.stderr)
        return done.stdout + (done.stderr if status else "")

    def run(self, *words: str, status: int = 0) -> str:
        """Run a container whose limits every machine allows."""
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")
        return self("run", "--network", "none", *limits, *words, status=status)


@pytest.fixture
def podman(oci: Oci, tmp_path: Path) -> Iterator[Podman]:
    folder = Path(tempfile.mkdtemp(prefix="kt-", dir="/var/tmp"))  # podman wants it short
    made = Podman(oci, folder)
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        tar.add(oci.rootfs, ".")
    made("import", str(tmp_path / "image.tar"), "box")
    yield made
    made("rm", "--all", "--force", "--time", "0")
    made("rmi", "--all", "--force")
    shutil.rmtree(folder)


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
