"""A Docker daemon with storage of its own, if Debian's docker.io is installed and can run here.

It has no bridge and leaves the firewall alone, so it is in nobody's way, and ends with the
benchmark.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .harness import BUILD, run_folder

_PATIENCE = 30.0  # seconds until it answers
_TICKS = os.sysconf("SC_CLK_TCK")


class CannotRun(Exception):
    """There is no Docker daemon, or it does not start; the text says why."""


class Dockerd:
    """A running daemon."""

    def __init__(self, process: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
        self._process = process
        self._environment = environment

    def docker(self, *words: str) -> None:
        """Run a command of the client. Raises CalledProcessError."""
        subprocess.run(["docker", *words], env=self._environment, check=True, capture_output=True)

    def pull(self, name: str) -> tuple[float, float]:
        """Pull an image that is not there; return (seconds, seconds of processors).

        Those of the daemon count, of all its children and of the client.
        """
        before, started = self._spent(), time.perf_counter()
        pid = os.posix_spawnp(
            "docker", ["docker", "pull", "-q", name], self._environment,
            file_actions=[(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)],
        )  # fmt: skip
        _, status, usage = os.wait4(pid, 0)
        if status:
            raise RuntimeError(f"docker pull {name}: status {status}")
        taken = time.perf_counter() - started
        spent = self._spent() - before + usage.ru_utime + usage.ru_stime
        self.docker("rmi", "-f", name)
        return taken, spent

    def _spent(self) -> float:
        """Return the seconds of processors that the daemon and its children have had so far."""
        ticks = 0
        waiting = [self._process.pid]
        while waiting:
            folder = Path(f"/proc/{waiting.pop()}")
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))  # its own, and of those that have ended
                for task in (folder / "task").iterdir():
                    waiting += map(int, (task / "children").read_text().split())
            except FileNotFoundError:
                continue  # it has ended since
        return ticks / _TICKS


@contextmanager
def running() -> Iterator[Dockerd]:
    """Run a daemon until the block ends. Raises CannotRun."""
    for name in ("dockerd", "containerd", "docker"):
        if shutil.which(name) is None:
            raise CannotRun(f"{name} is not installed (Debian: docker.io)")
    root, run = BUILD / f"docker-{os.getpid()}", run_folder() / f"knarr-bench-docker-{os.getpid()}"
    root.mkdir(parents=True)
    run.mkdir()
    socket = f"unix://{run}/socket"
    environment = {**os.environ, "DOCKER_HOST": socket, "DOCKER_CONFIG": str(run / "config")}
    words = ["dockerd", "--data-root", str(root / "data"), "--exec-root", str(run / "exec"),
             "--pidfile", str(run / "pid"), "-H", socket, "--bridge=none", "--iptables=false",
             "--ip6tables=false"]  # fmt: skip
    log = root / "log"
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(words, stdout=output, stderr=output)
        try:
            made = Dockerd(process, environment)
            _wait_for(made, process, log)
            yield made
        finally:
            process.terminate()
            process.wait(_PATIENCE)
    finally:
        shutil.rmtree(run, ignore_errors=True)
        shutil.rmtree(root, ignore_errors=True)


def _wait_for(made: Dockerd, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the daemon answers. Raises CannotRun."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            made.docker("version")
        except subprocess.CalledProcessError:
            if process.poll() is None and time.monotonic() < end:
                time.sleep(0.1)
                continue
            last = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise CannotRun(f"dockerd does not start here: {last[:300]}") from None
        return
