"""Memory of a forked process given back where it is again as it was before the fork.

An interpreter writes wherever it looks: it counts references up and down again. A page
written to becomes the process's own, and stays its own, although half of these pages
soon hold what they held before. ``remember``, in the process that others are forked
from, makes its memory a private mapping of a file that holds a copy of it, so that a
page can be let go of and is the file's again; ``give_back``, in one that was forked, lets
go of all pages that do not differ.

Only with the machine code in ``x86_64.S`` and ``aarch64.S``; elsewhere nothing happens.
"""

import array
import ctypes
import os

from knarr.kernel.lean import signal
from knarr.kernel.libc import LIBC, MACHINE
from knarr.kernel.memory import (
    MADV_POPULATE_READ,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
    map_executable,
    map_memory,
    own_mappings,
    unmap_memory,
)
from knarr.runtime.program import carrier, memory
from knarr.runtime.program.builder import Builder, Label, Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds without anything to do after which it is time to give memory back.
QUIET = 0.25
_PAGE = os.sysconf("SC_PAGESIZE")
# Smaller mappings are not worth it, and libraries and the thread have their own in such.
_LEAST = 32 * _PAGE
_STACK = "[stack]"
# Beyond the copy: a mapping of the file that grows (mremap(2)) must not end where the file does.
_ROOM = 1 << 36
_ENTRY = 8  # bytes of /proc/self/pagemap for a page
_WORD = 0xFFFFFFFF
_MADV_DONTNEED = 4


def _load() -> "Callable[[int, int, int, int, int], int] | None":
    """Return the function of the machine code; None where there is none or it cannot be run."""
    if not carrier.SHARED:
        return None
    if MACHINE == "x86_64":
        from knarr.runtime.pages.blob_x86_64 import BLOB
    elif MACHINE == "aarch64":
        from knarr.runtime.pages.blob_aarch64 import BLOB
    else:
        return None
    try:
        place = map_executable("knarr-pages", BLOB)
    except OSError:
        return None  # a security module lets no memory be executed
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    kind = ctypes.PYFUNCTYPE(ctypes.c_long, pointer, size, pointer, pointer, size)
    function: Callable[[int, int, int, int, int], int] = kind(place)
    return function


_native = _load()
_trim = getattr(LIBC, "malloc_trim", None)  # malloc_trim(3), which only glibc has
# Address, pages and address of the copy of each range by turns. Bare numbers: objects would be
# written to when they are looked at.
_ranges = array.array("Q")
_copy = (0, 0)


def remember() -> bool:
    """Let this memory be what ``give_back`` compares with, here and in whatever is forked later.

    For a process with one thread. It takes as long as copying some megabytes. Returns
    whether it was done; where it could not be (no machine code, no memory), nothing changes.
    """
    if _native is None:
        return False
    found = _writable()
    size = sum(end - start for start, end in found)
    try:
        file = os.memfd_create("knarr-memory", os.MFD_CLOEXEC)
    except OSError:
        return False
    try:
        os.ftruncate(file, size + _ROOM)
        copy = map_memory(size, PROT_READ, MAP_SHARED, file)
        if not _replace(found, file):
            unmap_memory(copy, size)
            return False
    except OSError:
        return False
    finally:
        os.close(file)
    _keep(found, copy, size)
    return True


def _writable() -> "list[tuple[int, int]]":
    """Return beginning and end of the mappings that are worth it."""
    found = []
    for start, end, mode, name in own_mappings():
        if mode != "rw-p" or name == _STACK:
            continue
        # A program writes its results to its own memory while it copies.
        for first, last in ((start, min(end, memory.BASE)), (max(start, memory.END), end)):
            if last - first >= _LEAST:
                found.append((first, last))
    return found


def _replace(found: "list[tuple[int, int]]", file: int) -> bool:
    """Copy all of it to the file, and map the file in its place; False when nothing was done.

    The interpreter must not write between the one and the other, so both are one program,
    and signals wait.
    """
    builder, failed = Builder(), Label()
    offset, done = 0, memory.TEMPORARY[0]
    for start, end in found:
        builder.call("pwrite64", file, start, end - start, offset, out=done, orelse=failed)
        builder.test(done, _WORD, (end - start) & _WORD, orelse=failed)
        offset += end - start
    offset, flags = 0, MAP_PRIVATE | MAP_FIXED
    for start, end in found:
        builder.call("mmap", start, end - start, PROT_READ | PROT_WRITE, flags, file, offset)
        offset += end - start
    offset = 0
    for start, end in found:
        # Into the page table, which is all that a fork copies. The second way, for kernels
        # before 5.14, reads what it writes.
        slowly, next_one = Label(), Label()
        builder.call("madvise", start, end - start, MADV_POPULATE_READ, orelse=slowly)
        builder.jump(next_one)
        builder.place(slowly)
        builder.call("pwrite64", file, start, end - start, offset, orelse=next_one)
        builder.place(next_one)
        offset += end - start
    builder.end()
    builder.place(failed)
    builder.fail(12)
    program = Program()
    program.add("remember", builder.finish())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        return carrier.run(program) == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _keep(found: "list[tuple[int, int]]", copy: int, size: int) -> None:
    global _copy
    if _copy[1]:
        unmap_memory(*_copy)
    _copy = copy, size
    del _ranges[:]
    for start, end in found:
        _ranges.extend((start, (end - start) // _PAGE, copy))
        copy += end - start


def give_back() -> int:
    """Let go of all pages that are as ``remember`` found them; return how many that were."""
    if _native is None or not _ranges:
        return 0
    try:
        table = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    given = 0
    # Of what was freed whole pages go first: what is in them does not count.
    if _trim is not None:
        _trim(ctypes.c_size_t(0))
    try:
        for at in range(0, len(_ranges), 3):
            start, pages, copy = _ranges[at], _ranges[at + 1], _ranges[at + 2]
            entries = os.pread(table, pages * _ENTRY, start // _PAGE * _ENTRY)
            given += _native(memory.address_of(entries), len(entries) // _ENTRY, start, copy, _PAGE)
    except OSError:
        return given
    finally:
        os.close(table)
        # Comparing has mapped it, and what nobody else has mapped would count as ours.
        LIBC.madvise(ctypes.c_void_p(_copy[0]), ctypes.c_size_t(_copy[1]), _MADV_DONTNEED)
    return given


def rehearse(rounds: int) -> None:
    """Have ``remember`` find this module as it is when it has been used so often.

    Both functions: what they write to themselves later is a supervisor's own.
    """
    for _ in range(rounds):
        remember()
        give_back()
    remember()
