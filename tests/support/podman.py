"""Debian's podman with storage of its own and our runtime, which it drives through conmon."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.bundles import Oci


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
