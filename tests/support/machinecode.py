"""Machine code of both machines: assembled anew, run by an emulator, judged as an executable."""

from __future__ import annotations

import platform
import shutil
import struct

import pytest

from tools import assemble

# Machine -> its number in an ELF header (elf.h, EM_*).
MACHINES = {"x86_64": 62, "aarch64": 183}


def binutil(machine: str, name: str) -> str:
    """Return a binutils program for a machine; skips where it is not installed."""
    found = shutil.which(assemble.tool(machine, name))
    if found is None:
        pytest.skip(f"binutils for {machine} are not installed")
    return found


def assembled(folder: str, machine: str) -> bytes:
    """Return what a folder's source assembles to; skips without binutils."""
    for name in ("as", "objcopy"):
        binutil(machine, name)
    return assemble.assemble(folder, machine)


def emulator(machine: str) -> list[str]:
    """Return the words that run a program of ``machine`` here; skips without qemu-user."""
    if platform.machine() == machine:
        return []
    found = shutil.which(f"qemu-{machine}") or shutil.which(f"qemu-{machine}-static")
    if found is None:
        pytest.skip(f"qemu-{machine} is not installed")
    return [found]


def check_executable(content: bytes, machine: str) -> None:
    """Check that these are a static executable whose only segment cannot be written.

    One more may be memory, of which nothing stands in the file and nothing is executed.
    """
    assert content[:7] == b"\x7fELF\x02\x01\x01"
    kind, found, _, entry, headers, _, _, _, size, count = struct.unpack_from(
        "<HHIQQQIHHH", content, 16
    )
    assert (kind, found, size) == (2, MACHINES[machine], 56)
    segments = [struct.unpack_from("<IIQQQQQQ", content, headers + i * 56) for i in range(count)]
    (load, flags, offset, address, _, in_file, in_memory, _), *memory, stack = segments
    assert (load, flags, offset, in_file, in_memory) == (1, 5, 0, len(content), len(content))
    assert address < entry < address + len(content)
    assert [(each[:2], each[5]) for each in memory] in ([], [((1, 6), 0)])
    assert stack[:2] == (0x6474E551, 6)  # a stack that cannot be executed
