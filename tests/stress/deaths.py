"""Kills processes of knarr with -9, at random moments, one or many at once."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.support.leftovers import started_with


class Ours(NamedTuple):
    """One process of knarr: what it is, by its name and what it was started as."""

    pid: int
    role: str


def ours(run_root: str) -> list[Ours]:
    """Return the processes of knarr that work for a run root; none of the tests' own.

    Nor what is to become a container's, which it may be by the time that it is killed.
    """
    found = []
    for pid, command, _ in started_with(run_root):
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if _is_inside(pid):
                continue
        except OSError:
            continue  # it has ended
        words = command.split(b"\0")
        if b"knarr.cli.server" in words:
            found.append(Ours(pid, "worker" if name == "knarr" else "server"))
        elif name.startswith("knarr-"):
            found.append(Ours(pid, name.removeprefix("knarr-")))
        elif b"tests.stress.runners" in words:
            found.append(Ours(pid, "library"))
    return found


def _is_inside(pid: int) -> bool:
    """Return whether a process is in a PID namespace below ours. Raises OSError."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return any(line.startswith("NSpid:") and len(line.split()) > 2 for line in lines)


class Reaper(threading.Thread):
    """Kills every now and then, until it is told to stop. log: what it has killed."""

    ROLES = ("watch", "watch", "spare", "make", "exec", "launcher", "template", "server", "worker",
             "library")  # fmt: skip

    def __init__(self, run_root: str, seed: str, every: float, also: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.log: list[str] = []
        self.problems: list[str] = []
        self._random = random.Random(f"{seed}/deaths")
        self._run_root = run_root
        self._every = every
        self._also = also
        self._over = threading.Event()

    def run(self) -> None:
        """Kill until `finish`."""
        while not self._over.wait(self._random.expovariate(1 / self._every)):
            try:
                self._strike()
            except Exception as error:
                self.problems.append(f"{type(error).__name__}: {error}")

    def finish(self) -> None:
        """Stop killing."""
        self._over.set()
        self.join()

    def _strike(self) -> None:
        dice = self._random.random()
        everybody = ours(self._run_root)
        if dice < 0.1:
            self.log.append("recover")
            self._also()
            return
        if dice < 0.15:
            victims, what = everybody, "all"
        elif dice < 0.25:
            share = [each for each in everybody if self._random.random() < 0.3]
            victims, what = share, "a third"
        else:
            what = self._random.choice(self.ROLES)
            same = [each for each in everybody if each.role == what]
            victims = self._random.sample(same, min(len(same), self._random.choice((1, 1, 3))))
        killed = [each for each in victims if _kill(each.pid)]
        self.log.append(f"{what}: {' '.join(f'{each.role}/{each.pid}' for each in killed)}")


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
