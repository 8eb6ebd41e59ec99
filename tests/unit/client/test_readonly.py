"""What starts a program from a read-only clone of its file."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machinecode import MACHINES, emulator

FOLDER = Path(__file__).resolve().parents[3] / "client" / "readonly"
# Whether its own file can be written to, which name it has, its words and a variable.
ABOUT = (
    "import os, sys; "
    "print(os.statvfs('/proc/self/exe').f_flag & os.ST_RDONLY, sys.argv[1:], os.environ['HERE'])"
)


def start(machine: str, *words: str) -> subprocess.CompletedProcess[str]:
    starter = [*emulator(machine), str(FOLDER / f"readonly-{machine}")]
    environment = {**os.environ, "HERE": "we are"}
    return subprocess.run(
        [*starter, *words], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("machine", MACHINES)
def test_it_becomes_the_program(machine: str) -> None:
    """Under the emulator there are no clones: then the program is executed as it is."""
    done = start(machine, sys.executable, sys.executable, "-I", "-S", "-c", ABOUT, "one", "two 2")
    assert done.returncode == 0, done.stderr
    flag, _, rest = done.stdout.partition(" ")
    assert rest == "['one', 'two 2'] we are\n"
    if machine == platform.machine() and os.geteuid() == 0:
        assert int(flag) == os.ST_RDONLY


@pytest.mark.root
def test_nobody_can_write_to_it_through_proc() -> None:
    script = "import os; print(os.access('/proc/self/exe', os.W_OK))"
    words = (sys.executable, "python", "-I", "-S", "-c", script)
    assert start(platform.machine(), *words).stdout == "False\n"
    assert subprocess.check_output([words[0], *words[2:]], text=True) == "True\n"


@pytest.mark.parametrize("machine", MACHINES)
def test_a_script_is_executed_as_it_is(machine: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('#!/bin/sh\necho "$@"; exit 3\n')
    script.chmod(0o755)
    done = start(machine, str(script), "script", "a", "b c")
    assert (done.returncode, done.stdout) == (3, "a b c\n")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "usage: readonly PROGRAM ARGV0 ARGUMENTS...\n"),
        (("/nowhere",), "usage: readonly PROGRAM ARGV0 ARGUMENTS...\n"),
        (("/nowhere", "it"), "readonly: the program cannot be executed\n"),
    ],
)
def test_what_cannot_be_executed(machine: str, words: tuple[str, ...], text: str) -> None:
    done = start(machine, *words)
    assert (done.returncode, done.stdout, done.stderr) == (127, "", text)
