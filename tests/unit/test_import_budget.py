"""The start path stays quick only while nobody imports something dear on it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
FORBIDDEN = {
    "argparse",
    "asyncio",
    "dataclasses",
    "http",
    "logging",
    "pathlib",
    "sqlite3",
    "ssl",
    "subprocess",
    "typing",
}
ROOMS = ("kernel", "cgroups", "runtime", "supervisor", "spec")


def modules_of(room: str) -> list[str]:
    """Return the dotted names of all modules of a room, found in the file system."""
    files = (SOURCE / "knarr" / room).rglob("*.py")
    dotted = (".".join(file.relative_to(SOURCE).with_suffix("").parts) for file in files)
    return sorted(name.removesuffix(".__init__") for name in dotted if "__main__" not in name)


def loaded_by(modules: list[str]) -> set[str]:
    """Return the top-level names in sys.modules after importing in a bare interpreter."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "for name in sys.argv[2:]: __import__(name)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    words = [sys.executable, "-I", "-S", "-c", code, str(SOURCE), *modules]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.replace("'", '"')))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_of_the_start_path_loads_nothing_dear(room: str) -> None:
    modules = modules_of(room)
    assert modules, f"no modules in {room}"
    assert loaded_by(["knarr.config", "knarr.errors", *modules]) & FORBIDDEN == set()


def test_importing_the_package_itself_is_free() -> None:
    assert loaded_by(["knarr"]) & FORBIDDEN == set()


def test_what_explains_is_loaded_by_nobody_who_does_not_explain() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import knarr.supervisor.launcher, knarr.supervisor.work, knarr.supervisor.starter\n"
        "import knarr.engine.engine, knarr.engine.container, knarr.cli.commands.run\n"
        "print([name for name in sys.modules if 'explain' in name or name.endswith(\n"
        "    ('.timeline', '.ptrace', '.linkstate', '.program.listing', '.seccomp.reading'))])"
    )
    words = [sys.executable, "-c", code, str(SOURCE)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
