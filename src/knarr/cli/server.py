"""The command server of ``knarr``: what it loads ahead, and what its workers do."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import time
from typing import TYPE_CHECKING

from knarr.warm import server

if TYPE_CHECKING:
    from knarr.warm.pool import Work


def main(argv: list[str]) -> int:
    """Serve run root ``argv[1]`` until idle.

    Returns 0, also when a server listens already; 1 when others could put a
    socket of theirs into the run root.
    """
    began = time.time_ns()
    os.closerange(3, _highest_fd() + 1)  # whatever the first caller's shell had left open
    try:
        server.serve(argv[1], began, _prepare, _idle_seconds())
    except server.OthersMayWriteError:
        return 1
    return 0


def _prepare() -> Work:
    """Import the engine and every command; return what a worker does."""
    from knarr.cli import commands, readiness, worker

    for name in ("main", "context"):
        importlib.import_module(f"knarr.cli.{name}")
    for found in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f"{commands.__name__}.{found.name}")
    sys.modules["knarr.cli.context"].preload()
    readiness.practise()
    return worker.become_a_command


def _highest_fd() -> int:
    return max(int(name) for name in os.listdir("/proc/self/fd"))


def _idle_seconds() -> float:
    from knarr.config import SERVER_IDLE

    try:
        return float(os.environ.get("KNARR_SERVER_IDLE") or SERVER_IDLE)
    except ValueError:
        return SERVER_IDLE


if __name__ == "__main__":
    sys.exit(main(sys.argv))
