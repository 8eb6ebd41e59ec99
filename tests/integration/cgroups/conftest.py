"""Groups and processes for tests on the real hierarchies of this machine."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from knarr.cgroups import manager

if TYPE_CHECKING:
    from knarr.cgroups.protocol import Group, Manager

DEADLINE = 60.0
_numbers = count()


class Process:
    """A Python process that waits for ``go`` and then carries out the given lines."""

    def __init__(self, code: str) -> None:
        lines = "import os, sys, time\nsys.stdin.readline()\n" + code
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-u", "-c", lines],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def readable(self, timeout: float) -> bool:
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], timeout)[0])

    def drain(self) -> None:
        assert self._process.stdout is not None
        while self.readable(0) and os.read(self._process.stdout.fileno(), 65536):
            continue

    def result(self) -> str:
        out, _ = self._process.communicate("\n", timeout=DEADLINE)
        return out.strip()

    def wait(self) -> int:
        return self._process.wait(timeout=DEADLINE)

    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        if self.alive():
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(timeout=DEADLINE)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def eventually(condition: Callable[[], bool]) -> bool:
    """Look until condition holds or a minute has passed: what the kernel does in its own time."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


@pytest.fixture(params=["cgroupfs", "systemd"])
def machine(request: pytest.FixtureRequest) -> "Manager":
    if os.geteuid() != 0:
        pytest.skip("needs root")
    try:
        return manager.detect(request.param)
    except OSError as error:
        pytest.skip(str(error))


@pytest.fixture
def process() -> Iterator[Callable[[str], Process]]:
    made: list[Process] = []

    def start(code: str) -> Process:
        made.append(Process(code))
        return made[-1]

    yield start
    for one in made:
        one.end()


@pytest.fixture
def path(machine: "Manager") -> Iterator[str]:
    """A path of the test's own; what is left there, as by a test that failed, goes with it."""
    parent = f"/knarr-test-{os.getpid()}"
    own = f"{parent}/{next(_numbers)}"
    yield own
    machine.remove(own)  # to systemd no part of its parent
    machine.remove(parent)


@pytest.fixture
def make(
    machine: "Manager", path: str, process: Callable[[str], Process]
) -> Iterator[Callable[..., "Group"]]:
    made: list[Group] = []

    def create(resources: dict[str, Any] | None = None, **more: Any) -> "Group":
        made.append(machine.create(f"{path}-{len(made)}", resources or {}, **more))
        return made[-1]

    yield create
    for one in made:
        one.destroy()


def places(machine: "Manager", path: str) -> list[str]:
    """Every place in the file system where a group of that path could be."""
    roots = set(getattr(machine, "controllers", {}).values())
    roots |= {
        root
        for name in ("mount_point", "unified")
        if (root := getattr(machine, name, None)) is not None
    }
    return [root + path for root in roots]
