"""A Docker daemon with storage of its own, if Debian's docker.io is installed and can run here.

It has no bridge and leaves firewall and routes alone, unless it is to have networks, so it is in
nobody's way, and ends with whoever started it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PATIENCE = 30.0  # seconds until it answers
_WITHOUT_NETWORKS = (
    "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"
)  # fmt: skip


class CannotRun(Exception):
    """There is no Docker daemon, or it does not start; the text says why."""


class Dockerd:
    """A running daemon. environment: that in which ``docker`` asks it."""

    def __init__(self, process: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
        self.process = process
        self.environment = environment

    def docker(self, *words: str | Path) -> str:
        """Run a command of the client and return its output. Raises CalledProcessError."""
        done = subprocess.run(
            ["docker", *map(str, words)], env=self.environment, check=True, capture_output=True
        )
        return done.stdout.decode()


@contextmanager
def running(root: Path, run: Path, *flags: str, networked: bool = False) -> Iterator[Dockerd]:
    """Run a daemon until the block ends. Raises CannotRun.

    root, run: folders for its data and for sockets, which are removed afterwards. networked: it
    has its bridge and rules, in the network namespace of the caller.
    """
    for name in ("dockerd", "containerd", "docker"):
        if shutil.which(name) is None:
            raise CannotRun(f"{name} is not installed (Debian: docker.io)")
    root.mkdir(parents=True)
    run.mkdir()
    socket = f"unix://{run}/socket"
    environment = {**os.environ, "DOCKER_HOST": socket, "DOCKER_CONFIG": str(run / "config")}
    without = () if networked else _WITHOUT_NETWORKS
    words = ["unshare", "--mount", "--propagation", "private", "dockerd",
             "--data-root", str(root / "data"), "--exec-root", str(run / "exec"),
             "--pidfile", str(run / "pid"), "-H", socket, *without, *flags]  # fmt: skip
    log = root / "log"
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(words, stdout=output, stderr=output)
        try:
            made = Dockerd(process, environment)
            _wait_for(made, log)
            yield made
        finally:
            process.terminate()
            process.wait(_PATIENCE)
    finally:
        shutil.rmtree(run, ignore_errors=True)
        shutil.rmtree(root, ignore_errors=True)


def _wait_for(made: Dockerd, log: Path) -> None:
    """Return when the daemon answers. Raises CannotRun."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            made.docker("version")
        except subprocess.CalledProcessError:
            if made.process.poll() is None and time.monotonic() < end:
                time.sleep(0.1)
                continue
            last = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise CannotRun(f"dockerd does not start here: {last[:300]}") from None
        return
