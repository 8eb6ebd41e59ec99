"""The native clients as files: what was assembled is what the sources say, each a small ELF."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.support.machinecode import MACHINES, assembled, check_executable
from tools.assemble import EXECUTABLES

REPOSITORY = Path(__file__).resolve().parents[3]


def executable(folder: str, machine: str) -> Path:
    """Return the executable of a folder for a machine."""
    place = REPOSITORY / folder
    return place / f"{place.name}-{machine}"


@pytest.mark.parametrize("folder", EXECUTABLES)
@pytest.mark.parametrize("machine", MACHINES)
def test_sources_assemble_to_the_same_bytes(folder: str, machine: str) -> None:
    assert assembled(folder, machine) == executable(folder, machine).read_bytes()


@pytest.mark.parametrize("folder", EXECUTABLES)
@pytest.mark.parametrize("machine", MACHINES)
def test_it_is_a_small_static_executable(folder: str, machine: str) -> None:
    file = executable(folder, machine)
    content = file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) & 0o111
    assert len(content) < 4096
    check_executable(content, machine)


def test_the_wheel_brings_all_as_data() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    for machine in MACHINES:
        for folder in EXECUTABLES:
            file = executable(folder, machine)
            assert f'"{folder}/{file.name}" = "libexec/knarr/{file.name}"' in project
