"""The native clients as files: what was assembled is what the sources say, each a small ELF."""

from __future__ import annotations

import importlib.util
import shutil
import stat
import struct
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
MACHINES = {"x86_64": 62, "aarch64": 183}


def executable(machine: str) -> Path:
    """Return the client for a machine."""
    return REPOSITORY / "client" / f"client-{machine}"


@pytest.mark.parametrize("machine", MACHINES)
def test_sources_assemble_to_the_same_bytes(machine: str) -> None:
    tool = REPOSITORY / "tools" / "assemble_client.py"
    spec = importlib.util.spec_from_file_location("assemble_client", tool)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("as", "objcopy"):
        if shutil.which(module.tool(machine, name)) is None:
            pytest.skip(f"binutils for {machine} are not installed")
    assert module.assemble(machine) == executable(machine).read_bytes()


@pytest.mark.parametrize(("machine", "number"), MACHINES.items())
def test_it_is_a_small_static_executable(machine: str, number: int) -> None:
    content = executable(machine).read_bytes()
    assert stat.S_IMODE(executable(machine).stat().st_mode) & 0o111
    assert len(content) < 4096
    assert content[:7] == b"\x7fELF\x02\x01\x01"
    kind, found, _, entry, headers, _, _, _, size, count = struct.unpack_from(
        "<HHIQQQIHHH", content, 16
    )
    assert (kind, found, size, count) == (2, number, 56, 2)
    segments = [struct.unpack_from("<IIQQQQQQ", content, headers + i * 56) for i in range(2)]
    (load, flags, offset, address, _, in_file, in_memory, _), stack = segments
    assert (load, flags, offset, in_file, in_memory) == (1, 5, 0, len(content), len(content))
    assert address < entry < address + len(content)
    assert stack[:2] == (0x6474E551, 6)  # a stack that cannot be executed


def test_the_wheel_brings_both_as_data() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    for machine in MACHINES:
        assert f'"client/client-{machine}" = "libexec/knarr/client-{machine}"' in project
