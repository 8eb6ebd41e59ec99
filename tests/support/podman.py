"""Debian's podman with storage of its own and our runtime, which it drives through conmon."""

from __future__ import annotations

import subprocess
from pathlib import Path

from knarr.cgroups.manager import detect
from tests.support.bundles import Oci

# Limits that every machine allows; and what podman asks only of runtimes that it is told of.
_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
runtime_supports_json = ["knarr"]
runtime_supports_nocgroup = ["knarr"]
[engine.runtimes]
knarr = ["{program}"]
"""


class Podman:
    """podman with storage of its own, and our runtime."""

    def __init__(
        self, oci: Oci, folder: Path, before: tuple[str, ...] = (), program: Path | None = None
    ) -> None:
        conf = folder / "containers.conf"
        conf.write_text(_CONFIGURATION.format(program=program or oci.program))
        manager = "systemd" if detect().name == "systemd" else "cgroupfs"
        self.head = [
            *before, "env", f"CONTAINERS_CONF={conf}", "podman",
            "--root", str(folder / "root"), "--runroot", str(folder / "run"),
            "--storage-driver", "vfs", "--cgroup-manager", manager, "--events-backend", "none",
            "--runtime", "knarr",
        ]  # fmt: skip

    def __call__(self, *words: str, status: int | None = 0) -> str:
        """Run a command; return its output, also that of errors if it must not succeed."""
        done = subprocess.run(
            [*self.head, *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        if status is not None:
            assert done.returncode == status, (words, done.returncode, done.stderr)
        return done.stdout + (done.stderr if status else "")

    def run(self, *words: str, status: int = 0) -> str:
        """Run a container without a network."""
        return self("run", "--network", "none", *words, status=status)
