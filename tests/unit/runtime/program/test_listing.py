"""Programs as text: single operations, and all that starts a usual container."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from knarr.kernel.libc import MACHINE
from knarr.runtime.plan import plan
from knarr.runtime.program import memory
from knarr.runtime.program.builder import Builder, Label
from knarr.runtime.program.listing import describe
from knarr.runtime.program.memory import CHANNEL, ROOT, STATX, TEMPORARY, Cell, address_of
from knarr.runtime.rehearsal import rehearse
from knarr.runtime.steps.base import Circumstances
from tests.support.launch import spec
from tests.support.programs import program

GOLDEN = Path(__file__).parent / "golden/container.txt"
TOOL = Path(__file__).resolve().parents[4] / "tools/program.py"
A = TEMPORARY[0]


def lines(*writes: object) -> list[str]:
    """Return the listing without the end that every test program has."""
    return describe(program(*writes))[:-2]  # type: ignore[arg-type]


def test_calls_have_names_and_arguments_are_told_apart() -> None:
    def write(b: Builder) -> None:
        b.call("openat", -100, "/a b", 0x80000, 0, out=ROOT)
        b.call("write", CHANNEL, b"r", 1)
        b.call("read", A, memory.BYTE, 1)
        b.call("statx", A, "", 0x1000, 0x7FF, STATX)
        b.call("close", memory.mount_cell(3))
        b.call("setsid")
        b.call("umask", 0)
        b.set(A, ROOT)
        b.set(A, -1)

    assert lines(write) == [
        "block 0:",
        '    0  ROOT = openat(-100, "/a b", 0x80000)',
        '    1  write(CHANNEL, "r", 1)',
        "    2  read(TEMPORARY[0], &BYTE, 1)",
        '    3  statx(TEMPORARY[0], "", 0x1000, 0x7ff, &STATX)',
        "    4  close(MOUNT[3])",
        "    5  setsid()",
        "    6  umask(0)",
        "    7  TEMPORARY[0] = ROOT",
        "    8  TEMPORARY[0] = -1",
    ]


def test_structures_show_their_words_lists_their_texts() -> None:
    def write(b: Builder) -> None:
        b.set(A, struct.pack("=3Q", 1, 0x1000, 0))
        b.set(A, bytes(40))
        b.set(A, bytes(6))
        words = struct.pack("=3Q", b.address("sh"), b.address("-c"), 0)
        b.set(A, words)
        b.set(Cell(address_of(words) + 8), ROOT)
        b.set(A, "\x1b[2J")
        b.set(A, "f\u00fcr")

    assert [line[7:] for line in lines(write)[1:]] == [
        "TEMPORARY[0] = {1, 0x1000, 0}",
        "TEMPORARY[0] = <40 bytes>",
        "TEMPORARY[0] = <6 bytes>",
        'TEMPORARY[0] = ["sh", "-c"]',
        '["sh", "-c"]+8 = ROOT',
        "TEMPORARY[0] = <4 bytes>",
        "TEMPORARY[0] = <4 bytes>",
    ]


def test_jumps_lead_to_numbers_of_the_whole_program() -> None:
    def write(b: Builder) -> None:
        end = Label()
        b.call("chdir", "/", orelse=end)
        b.call("chdir", "/", orelse=end, errors=(errno.ENOENT, errno.EACCES))
        b.test(STATX + 28, 0xF000, 0x4000, orelse=end)
        b.test(A, 1, 1, errno=errno.EPERM)
        b.jump(end)
        b.fail(errno.EISDIR)
        b.place(end)
        b.end()

    assert lines(Builder.end, write) == [
        "block 0:",
        "    0  end",
        "block 1:",
        '    1  chdir("/")  else: 7',
        '    2  chdir("/")  ENOENT EACCES: 7',
        "    3  test STATX+28 & 0xf000 == 0x4000  else: 7",
        "    4  test TEMPORARY[0] & 1 == 1, else EPERM",
        "    5  go to 7",
        "    6  fail with EISDIR",
        "    7  end",
    ]


@pytest.mark.skipif(MACHINE != "x86_64", reason="flags of open(2) differ between machines")
def test_a_container_is_started_like_this() -> None:
    """Compare with the golden file; KNARR_WRITE_GOLDEN=1 writes it anew."""
    seen = Circumstances((-1, 16, 17), filtered=True, entrances=1)
    usual = spec("sh", "-c", "true")
    # which control groups there are to mount, the machine says
    usual["mounts"] = [mount for mount in usual["mounts"] if mount["type"] != "cgroup"]
    listed = describe(rehearse(plan(usual), seen, whole=True))
    if os.environ.get("KNARR_WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text("\n".join(listed) + "\n")
    assert listed == GOLDEN.read_text().splitlines()


def test_the_tool_prints_plan_and_program(tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(spec("true")))
    done = subprocess.run(
        [sys.executable, TOOL, "--groups", "2", file], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.split("\n\n")
    assert first.endswith("exec true")
    assert second.splitlines()[1].endswith("openat(-100, ENTRANCES[0], 0x80001)")
    assert second.splitlines()[-1].endswith("execve(PATH, ARGUMENTS, ENVIRONMENT)")
