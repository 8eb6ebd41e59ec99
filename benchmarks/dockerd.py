"""What a pull costs a Docker daemon, if Debian's docker.io is installed and can run here."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import dockerd
from tests.support.dockerd import CannotRun, Dockerd

from .harness import BUILD, run_folder

__all__ = ["CannotRun", "pull", "running"]
_TICKS = os.sysconf("SC_CLK_TCK")


def pull(daemon: Dockerd, name: str) -> tuple[float, float]:
    """Pull an image that is not there; return (seconds, seconds of processors).

    Those of the daemon count, of all its children and of the client.
    """
    before, started = _spent(daemon.process.pid), time.perf_counter()
    pid = os.posix_spawnp(
        "docker", ["docker", "pull", "-q", name], daemon.environment,
        file_actions=[(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)],
    )  # fmt: skip
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"docker pull {name}: status {status}")
    taken = time.perf_counter() - started
    spent = _spent(daemon.process.pid) - before + usage.ru_utime + usage.ru_stime
    daemon.docker("rmi", "-f", name)
    return taken, spent


def _spent(pid: int) -> float:
    """Return the seconds of processors that a process and its children have had so far."""
    ticks = 0
    waiting = [pid]
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
def running(*, networked: bool = False) -> Iterator[Dockerd]:
    """Run a daemon until the block ends. Raises CannotRun.

    networked: it has its bridge and rules, in the network namespace of the caller.
    """
    number = os.getpid()
    places = BUILD / f"docker-{number}", run_folder() / f"knarr-bench-docker-{number}"
    with dockerd.running(*places, networked=networked) as daemon:
        yield daemon
