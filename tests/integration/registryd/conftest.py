"""``knarr registry serve`` as a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY


class Served:
    """A running command; ``port`` is where it listens."""

    def __init__(self, process: subprocess.Popen[bytes], said: str) -> None:
        self.process = process
        self.said = said
        self.port = int(said.rpartition(":")[2]) if "://" in said and "unix" not in said else 0

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)


Serve = Callable[..., Served]


@pytest.fixture
def program(environment: dict[str, str]) -> str:
    return shutil.which("knarr", path=environment["PATH"]) or str(REPOSITORY / "scripts/knarr")


@pytest.fixture
def serve(environment: dict[str, str], program: str, tmp_path: Path) -> Iterator[Serve]:
    """Start ``knarr registry serve WORDS`` on a free port; all of them are ended at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str, listen: str = "127.0.0.1:0") -> Served:
        with (tmp_path / "registry.log").open("ab") as log:
            process = subprocess.Popen(
                [program, "registry", "serve", "--listen", listen, *words],
                env=environment, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        said = os.fsdecode(process.stdout.readline()).strip()
        assert said, (tmp_path / "registry.log").read_text()
        return Served(process, said)

    yield start
    for each in started:
        if each.poll() is None:
            each.kill()
        each.wait()
        assert each.stdout is not None
        each.stdout.close()
