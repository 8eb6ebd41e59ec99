"""Containers that other OCI runtimes make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from knarr import Container, ContainerConfig, Engine, RunResult
from tests.support import runtimes


@pytest.fixture(params=runtimes.NAMES)
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A runtime, as ``--runtime`` has it."""
    return runtimes.find(request.param, tmp_path)


@pytest.fixture
def runc(tmp_path: Path) -> str:
    """The one for what need not be tried with all of them."""
    return runtimes.find("runc", tmp_path)


class Box:
    """An engine whose containers one runtime makes."""

    def __init__(self, engine: Engine, runtime: str) -> None:
        self.engine = engine
        self.runtime = runtime

    def config(self, *words: str, **said: Any) -> ContainerConfig:
        """Return a configuration of busybox."""
        return ContainerConfig("busybox", words, **{"runtime": self.runtime, **said})

    def run(self, *words: str, **said: Any) -> RunResult:
        """Run a command to its end."""
        return self.engine.containers.run(self.config(*words, auto_remove=True, **said))

    def sh(self, text: str, **said: Any) -> RunResult:
        """Run a shell's commands to their end."""
        return self.run("sh", "-c", text, **said)

    def launch(self, *words: str, **said: Any) -> Container:
        """Start a container in the background."""
        return self.engine.containers.launch(self.config(*words, **said), attach=False).container


@pytest.fixture
def box(engine: Engine, runtime: str) -> Box:
    """Containers of every runtime in turn."""
    return Box(engine, runtime)


@pytest.fixture
def runc_box(engine: Engine, runc: str) -> Box:
    """Containers of runc."""
    return Box(engine, runc)
