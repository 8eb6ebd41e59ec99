"""The native clients as files: what was assembled is what the sources say, each a small ELF."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.support.machinecode import MACHINES, assembled, check_executable

REPOSITORY = Path(__file__).resolve().parents[3]


def executable(machine: str) -> Path:
    """Return the client for a machine."""
    return REPOSITORY / "client" / f"client-{machine}"


@pytest.mark.parametrize("machine", MACHINES)
def test_sources_assemble_to_the_same_bytes(machine: str) -> None:
    assert assembled("client", machine) == executable(machine).read_bytes()


@pytest.mark.parametrize("machine", MACHINES)
def test_it_is_a_small_static_executable(machine: str) -> None:
    content = executable(machine).read_bytes()
    assert stat.S_IMODE(executable(machine).stat().st_mode) & 0o111
    assert len(content) < 4096
    check_executable(content, machine)


def test_the_wheel_brings_both_as_data() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    for machine in MACHINES:
        assert f'"client/client-{machine}" = "libexec/knarr/client-{machine}"' in project
