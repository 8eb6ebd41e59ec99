"""The machine code: what was assembled is what the sources say, and aarch64's does what it should.

The latter under an emulator: a static program of two parts, the machine code and
a few instructions that call it and exit with 0 or the error number.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from knarr.runtime.program import blob_aarch64, blob_x86_64
from knarr.runtime.program.operations import (
    CALL,
    END,
    FAIL,
    JUMP,
    OPERATION,
    REPEAT,
    SET,
    TEST,
)
from tests.support.machinecode import assembled, binutil, emulator

BLOBS = {"x86_64": blob_x86_64.BLOB, "aarch64": blob_aarch64.BLOB}
# Of aarch64 (asm-generic/unistd.h).
READ, WRITE, EVENTFD2, CLOSE = 63, 64, 19, 57
CELLS = 0x600000  # where the harness has its zeroed memory
FAULT, A, B, TEXT = CELLS, CELLS + 16, CELLS + 24, CELLS + 32
_HARNESS = """
    .text
    .globl _start
_start:
    ldr x0, =program
    ldr x1, =0x600000
    bl code
    neg x19, x0
    mov x0, 1                           /* write(1, cells, 64) */
    ldr x1, =0x600000
    mov x2, 64
    mov x8, 64
    svc 0
    mov x0, x19
    mov x8, 93                          /* exit */
    svc 0
    .balign 16
code:
    .incbin "code"
    .balign 16
    .section .rodata
    .balign 64
program:
    .incbin "program"
    .section .cells, "aw", @nobits
    .space 4096
"""


@pytest.mark.parametrize("machine", BLOBS)
def test_sources_assemble_to_the_same_bytes(machine: str) -> None:
    assert assembled("src/knarr/runtime/program", machine) == BLOBS[machine]


def operation(
    kind: int,
    *arguments: int,
    number: int = 0,
    indirect: int = 0,
    jump: int = 0,
    errors: tuple[int, int] = (0, 0),
    out: int = 0,
) -> bytes:
    values = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    masked = [value & 0xFFFFFFFFFFFFFFFF for value in values]
    return OPERATION.pack(number, indirect, kind, jump, *errors, out, *masked)


_FIVE = (operation(FAIL, 5), operation(END))
_EVENT = operation(CALL, 0, 0o4000, number=EVENTFD2, out=B)  # EFD_NONBLOCK
# Operations -> result, fault (operation, error number), cells A and B.
PROGRAMS: dict[str, tuple[list[bytes], int, tuple[int, int], int | None, int | None]] = {
    "call": ([operation(CALL, 999, number=CLOSE, out=A)], 9, (0, 9), -9, 0),
    "set": (
        [operation(SET, -5, out=A), operation(SET, A, indirect=1, out=B), operation(END)],
        0, (0, 0), -5, -5,
    ),
    "indirect": (
        [operation(SET, 999, out=B), operation(CALL, B, number=CLOSE, indirect=1, out=A)],
        9, (1, 9), -9, 999,
    ),
    "arguments": (
        [_EVENT, operation(SET, 7, out=TEXT), operation(SET, 8, out=A),
         operation(CALL, B, TEXT, A, number=WRITE, indirect=0b101, out=A),
         operation(CALL, B, TEXT + 8, 8, number=READ, indirect=1),
         operation(TEST, TEXT + 8, 0xFFFFFFFF, 7, 1), operation(END)],
        0, (0, 0), 8, None,
    ),
    "jump": (
        [operation(JUMP, jump=3), operation(SET, 1, out=A), operation(END),
         operation(SET, 2, out=B), operation(JUMP, jump=-3)],
        0, (0, 0), 1, 2,
    ),
    "any error": ([operation(CALL, 999, jump=2, number=CLOSE, out=A), *_FIVE],
                  0, (0, 0), -9, 0),
    "first error": ([operation(CALL, 999, jump=2, errors=(9, 0), number=CLOSE, out=A), *_FIVE],
                     0, (0, 0), -9, 0),
    "second error": ([operation(CALL, 999, jump=2, errors=(1, 9), number=CLOSE, out=A), *_FIVE],
                     0, (0, 0), -9, 0),
    "other error": ([operation(CALL, 999, jump=2, errors=(1, 2), number=CLOSE, out=A), *_FIVE],
                     9, (0, 9), -9, 0),
    "test": ([operation(SET, 0x5555555580001234, out=A),
              operation(TEST, A, 0xFF00, 0x1200, 5), operation(TEST, A, 0x80000000, 0x80000000, 6),
              operation(TEST, A, 0xFF, 0, 7)], 7, (3, 7), 0x5555555580001234, 0),
    "test jumps": ([operation(TEST, A, 1, 1, 5, jump=2), operation(FAIL, 6), operation(END)],
                   0, (0, 0), 0, 0),
    "fail": ([operation(SET, 1, out=A), operation(FAIL, 95)], 95, (1, 95), 1, 0),
    "end": ([operation(END), operation(FAIL, 1)], 0, (0, 0), 0, 0),
    "repeat gives up": (
        [_EVENT, operation(REPEAT, B, TEXT, 8, number=READ, indirect=1, out=A)],
        11, (1, 11), -11, None,
    ),
    "repeat goes on": (
        [_EVENT, operation(SET, 3, out=TEXT), operation(CALL, B, TEXT, 8, number=WRITE, indirect=1),
         operation(REPEAT, B, TEXT + 8, 8, number=READ, indirect=1, out=A),
         operation(SET, 4, out=TEXT), operation(END)],
        0, (0, 0), 8, None,
    ),
    "repeat of another error": ([operation(REPEAT, 999, jump=2, number=CLOSE, out=A), *_FIVE],
                     0, (0, 0), -9, 0),
}  # fmt: skip


def harness(folder: Path, operations: list[bytes]) -> list[str]:
    """Make the emulated program and return the command that runs it; skips without tools."""
    assembler, linker = binutil("aarch64", "as"), binutil("aarch64", "ld")
    command = emulator("aarch64")
    (folder / "code").write_bytes(blob_aarch64.BLOB)
    (folder / "program").write_bytes(b"".join(operations))
    (folder / "harness.S").write_text(_HARNESS)
    subprocess.run([assembler, "-o", "h.o", "harness.S"], cwd=folder, check=True)
    place = f"--section-start=.cells={CELLS:#x}"
    subprocess.run([linker, "-static", place, "-o", "h", "h.o"], cwd=folder, check=True)
    return [*command, str(folder / "h")]


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_aarch64_does(tmp_path: Path, name: str) -> None:
    operations, result, fault, a, b = PROGRAMS[name]
    command = harness(tmp_path, operations)
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    at, errno, in_a, in_b = struct.unpack("<4q", done.stdout[:32])
    assert (done.returncode, (at, errno)) == (result, fault)
    assert a is None or in_a == a
    assert b is None or in_b == b


def test_aarch64_repeats_64_times(tmp_path: Path) -> None:
    command = harness(tmp_path, PROGRAMS["repeat gives up"][0])
    if len(command) == 1:
        pytest.skip("counted by the emulator")
    command.insert(1, "-strace")
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.stderr.count(b" read(") == 64
