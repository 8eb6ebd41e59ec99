"""Memory that is given back: less of it is a process's own, and nothing in it changes.

In processes of their own: a test runner has threads, and its memory is not to be replaced.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from knarr.runtime import pages
from knarr.runtime.pages import blob_aarch64, blob_x86_64
from knarr.runtime.program import carrier
from tests.support.machinecode import assembled, binutil, emulator

BLOBS = {"x86_64": blob_x86_64.BLOB, "aarch64": blob_aarch64.BLOB}
SOURCE = Path(pages.__file__).parents[3]
native = pytest.mark.skipif(not carrier.SHARED, reason="no machine code for this machine")

_BEGIN = """
import ctypes, gc, mmap, os, sys
from knarr.kernel import memory
from knarr.runtime import pages

def private():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private"))

def forked(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0

def look_at_everything():
    for thing in gc.get_objects():
        type(thing)
    return len(repr(sys.modules))

gc.disable()
everything = [str(number) for number in range(100_000)]
"""


def check(script: str, **environment: str) -> None:
    """Run a script in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + script],
        env={"PYTHONPATH": str(SOURCE), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@native
def test_what_was_only_looked_at_is_given_back() -> None:
    check("""
pages.rehearse(12)

def work():
    look_at_everything()
    for text in everything:
        text
    before = private()
    assert pages.give_back() > 200
    after = private()
    assert after < before / 2, (before, after)

forked(work)
""")


@native
def test_what_changed_stays_and_what_did_not_change_is_there() -> None:
    check("""
held = ctypes.create_string_buffer(4 << 20)
filled = bytes(range(256)) * 16384
ctypes.memmove(held, filled, len(filled))
big = [{number: str(number)} for number in range(20_000)]
pages.rehearse(12)

def work():
    for number in range(0, 20_000, 7):
        big[number][number] = "another"
    for at in range(0, 4 << 20, 100_000):
        held[at] = b"!"
    fresh = [str(number) * 3 for number in range(50_000)]
    for _ in range(3):
        pages.give_back()
        expected = bytearray(filled)
        for at in range(0, 4 << 20, 100_000):
            expected[at] = ord("!")
        assert held.raw == expected
        for number, entry in enumerate(big):
            assert entry == {number: str(number) if number % 7 else "another"}
        assert everything == [str(number) for number in range(100_000)]
        assert fresh == [str(number) * 3 for number in range(50_000)]
    gc.collect()

forked(work)
forked(work)
assert everything == [str(number) for number in range(100_000)]
""")


@native
def test_a_mapping_that_took_the_place_keeps_its_bytes() -> None:
    check("""
size = 1 << 20
flags = memory.MAP_PRIVATE | memory.MAP_ANONYMOUS
rights = memory.PROT_READ | memory.PROT_WRITE
place = memory.map_memory(size, rights, flags)
# All bytes of it: zeros would be zeros afterwards, too.
ctypes.memset(place, 0x55, size)
pages.rehearse(12)

def work():
    memory.unmap_memory(place, size)
    assert memory.map_memory(size, rights, flags | memory.MAP_FIXED, -1, place) == place
    ctypes.memset(place, 0x55, size)
    pages.give_back()
    assert ctypes.string_at(place, size) == b"U" * size

forked(work)
""")


@native
def test_memory_goes_on_to_grow() -> None:
    check("""
pages.rehearse(12)

def work():
    grown = [bytearray(number) for number in range(0, 200_000, 100)]
    assert all(not any(block) for block in grown)
    pages.give_back()
    text = b"x"
    while len(text) < 32 << 20:
        text += text
    everything.extend(everything)
    assert len(everything) == 200_000
    del grown[:]
    gc.collect()
    pages.give_back()

forked(work)
""")


@native
def test_what_is_remembered_again_takes_no_further_mapping() -> None:
    check("""
def mappings():
    return open("/proc/self/maps").read().count("knarr-memory")

pages.remember()
first = mappings()
for _ in range(20):
    assert pages.remember()
# What the interpreter got meanwhile may have become one more.
assert first <= mappings() <= first + 4
assert not [fd for fd in os.listdir("/proc/self/fd") if int(fd) > 3]
""")


def test_without_machine_code_nothing_happens() -> None:
    variable = {carrier.INTERPRETER_VARIABLE: "1"}
    check(
        "pages.rehearse(12); assert not pages.remember(); assert pages.give_back() == 0", **variable
    )


@pytest.mark.parametrize("machine", BLOBS)
def test_sources_assemble_to_the_same_bytes(machine: str) -> None:
    assert assembled("src/knarr/runtime/pages", machine) == BLOBS[machine]


# Six pages of 4 KiB at CELLS and their copy behind: what stands in the first word of each, what
# in the copy's, and the page's entry. The result, and the first word afterwards. Anonymous
# memory is zeros when it was let go of, so that what is not zero has to be written back.
_PRESENT, _FILE = 1 << 63, 1 << 61
_PAGES = [
    (0, 0, _PRESENT, 0),  # let go of
    (7, 7, _PRESENT, 7),  # let go of, and written back
    (7, 8, _PRESENT, 7),  # another
    (7, 7, 0, 7),  # not there
    (7, 7, _PRESENT | _FILE, 7),  # the file's
    (0, 0, _PRESENT | 1, 0),  # let go of
]
_HARNESS = """
    .text
    .globl _start
_start:
    ldr x0, =firsts
    ldr x1, =0x600000
    mov x2, 12
1:  ldr x3, [x0], 8
    str x3, [x1]
    str x3, [x1, 4088]
    add x1, x1, 4096
    subs x2, x2, 1
    b.ne 1b
    ldr x0, =entries
    mov x1, 6
    ldr x2, =0x600000
    ldr x3, =0x606000
    mov x4, 4096
    bl code
    mov x19, x0
    mov x0, 1                           /* write(1, pages, size) */
    ldr x1, =0x600000
    mov x2, 24576
    mov x8, 64
    svc 0
    mov x0, x19
    mov x8, 93                          /* exit */
    svc 0
    .balign 16
code:
    .incbin "code"
    .section .rodata
    .balign 8
firsts:
    .quad {firsts}
entries:
    .quad {entries}
    .section .cells, "aw", @nobits
    .balign 4096
    .space 49152
"""


def test_what_aarch64_does(tmp_path: Path) -> None:
    assembler, linker = binutil("aarch64", "as"), binutil("aarch64", "ld")
    command = emulator("aarch64")
    (tmp_path / "code").write_bytes(BLOBS["aarch64"])
    firsts = [page[0] for page in _PAGES] + [page[1] for page in _PAGES]
    text = _HARNESS.replace("{firsts}", ", ".join(map(str, firsts)))
    text = text.replace("{entries}", ", ".join(str(page[2]) for page in _PAGES))
    (tmp_path / "harness.S").write_text(text)
    subprocess.run([assembler, "-o", "h.o", "harness.S"], cwd=tmp_path, check=True)
    place = "--section-start=.cells=0x600000"
    subprocess.run([linker, "-static", place, "-o", "h", "h.o"], cwd=tmp_path, check=True)
    done = subprocess.run(
        [*command, str(tmp_path / "h")], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 2
    expected = b""
    for *_, first in _PAGES:
        word = first.to_bytes(8, "little")
        expected += word + bytes(4080) + word
    assert done.stdout == expected
