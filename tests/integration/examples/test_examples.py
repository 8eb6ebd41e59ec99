"""The programs in examples/ do what they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

Run = Callable[[str], str]


@pytest.fixture
def example(knarr: object, environment: dict[str, str]) -> Run:
    """Run an example by its name in an engine with busybox; return what it prints."""

    def run(name: str) -> str:
        done = subprocess.run(
            [sys.executable, EXAMPLES / f"{name}.py"],
            env=environment | {"PYTHONPATH": str(EXAMPLES.parent / "src")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    return run


def test_sandbox(example: Run) -> None:
    output = example("sandbox")
    assert "0 working on 3 numbers" in output
    assert "one line of complaint" in output
    assert "1\n2\n3\n" in output
    assert "timed out: True" in output


def test_many_sandboxes(example: Run) -> None:
    assert example("many_sandboxes").strip() == "['1', '4', '9', '16', '25']"


def test_containers(example: Run) -> None:
    output = example("containers")
    assert "is running" in output
    assert "exit code 3" in output
    assert "log: up" in output
    assert "log: bye" in output
