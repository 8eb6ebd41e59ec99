"""When each step of a start was done: moments that its maker notes, and stamps of the process.

Only for a start that is to be explained: loaded when it is asked for. The process that carries
out the program runs no Python, so the program itself tells the time: a copy of it has a
clock_gettime(2) behind each operation, which writes to memory that the maker reads afterwards.
From the moment a system call filter is in force there are no stamps, since it might forbid them.
"""

import select
import struct
import time

from knarr.kernel import ptrace
from knarr.kernel.libc import NUMBERS
from knarr.kernel.memory import (
    MAP_ANONYMOUS,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
    map_memory,
)
from knarr.runtime.program import listing
from knarr.runtime.program.builder import Block, Program
from knarr.runtime.program.operations import CALL, JUMP, OPERATION, REPEAT, SIZE, TEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import ctypes
    from collections.abc import Sequence
    from typing import Any

_TIMESPEC = struct.Struct("=qq")
_BILLION = 1_000_000_000
# Parts of the last leg: many calls that are all alike, and those in which a filter comes.
_UNIFORM, _FILTERED = ("signals",), ("confine", "execute")
# How much is stamped: each call, what may go on in two ways, ends of blocks.
_CALLS, _FORKS, _ENDS = range(3)
_PARTING = (CALL, REPEAT, TEST)
_PATIENCE = 10_000  # milliseconds for whoever looks at the process that is held


class _Stamped:
    """A block of the program as it was meant, and the stamp of each operation, -1 for none."""

    __slots__ = ("block", "name", "part", "stamps")

    def __init__(self, name: str, part: str, block: Block) -> None:
        self.name = name
        self.part = part
        self.block = block
        self.stamps = [-1] * len(block.notes)


class Timeline:
    """The moments of one start, in ns of CLOCK_MONOTONIC. asked: when its caller began.

    held: the process stands still behind its execve, until ``release``.
    """

    def __init__(self, asked: int) -> None:
        self.notes: list[tuple[str, int]] = [("asked", asked)]
        self.held = False
        self.pid = 0
        self._count = 0
        self._blocks: list[_Stamped] = []
        self._meant = Program()
        self._memory: ctypes.Array[ctypes.c_char] | None = None
        self._address = 0

    def note(self, what: str) -> None:
        """Say that something has just been done."""
        self.notes.append((what, time.monotonic_ns()))

    def stamped(self, program: Program, before: "Block | None", room: int) -> Program:
        """Return the program with stamps. before: a block that is being carried out already.

        room: bytes that it may have, 0 for any number. When they do not suffice fewer operations
        are stamped.
        """
        self._meant = program
        rows = zip(program.blocks(), program.parts(), strict=True)
        self._blocks = [_Stamped(name, part, block) for (name, block), part in rows]
        size = 2 * len(program) * _TIMESPEC.size
        self._map(size)
        made = self._program(before, _CALLS)
        for level in (_FORKS, _ENDS):
            if not room or len(made) * SIZE <= room:
                break
            made = self._program(before, level)
        return made

    def _map(self, size: int) -> None:
        import ctypes

        address = map_memory(size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS)
        self._address = address
        self._memory = (ctypes.c_char * size).from_address(address)

    def _program(self, before: "Block | None", level: int) -> Program:
        self._count = 0
        made = Program()
        for row in self._blocks:
            row.stamps = [-1] * len(row.stamps)
            block = row.block
            if block is not before and row.part not in _FILTERED:
                block = self._stamped(row, _ENDS if row.part in _UNIFORM else level)
            made.add(row.name, block, row.part)
        return made

    def _stamp(self, row: _Stamped, index: int) -> bytes:
        """Return the operation that stamps one: what it finds is kept in ``row``."""
        row.stamps[index] = self._count
        address = self._address + self._count * _TIMESPEC.size
        self._count += 1
        number = NUMBERS["clock_gettime"]
        return OPERATION.pack(
            number, 0, CALL, 0, 0, 0, 0, time.CLOCK_MONOTONIC, address, 0, 0, 0, 0
        )

    def _stamped(self, row: _Stamped, level: int) -> Block:
        """Return the block with a stamp behind some operations, and behind its last."""
        records = [list(record) for record in OPERATION.iter_unpack(row.block.data)]
        last = len(records) - 1
        chosen = [index == last or _is_told(record, level) for index, record in enumerate(records)]
        places = [0]
        for stamped in chosen:
            places.append(places[-1] + 1 + stamped)
        data, notes = [], []
        for index, record in enumerate(records):
            if record[3]:
                record[3] = places[index + record[3]] - places[index]
            data.append(OPERATION.pack(*record))
            notes.append(row.block.notes[index])
            if chosen[index]:
                data.append(self._stamp(row, index))
                notes.append(row.block.notes[index])
        return Block(b"".join(data), notes, row.block.keep)

    def seize(self, pid: int) -> None:
        """Have the process held when it has become the command, if that is permitted."""
        try:
            ptrace.seize(pid)
        except OSError:
            return  # a security module forbids it: then it is not held
        self.pid = pid

    def pass_on(self) -> None:
        """Let the process go that stands still for a signal: it is what ends it.

        A program that fails in a process that a keeper has cloned ends by SIGSEGV, which the first
        process of a PID namespace survives for as long as it is traced.
        """
        if self.pid and ptrace.has_signal(self.pid):
            self.release()

    def hold(self) -> None:
        """Wait for the process, which has executed its command, to stand still."""
        if self.pid:
            self.held = ptrace.await_exec(self.pid)

    def release(self) -> None:
        """Let the process go on; twice is no error."""
        if self.pid:
            ptrace.detach(self.pid)
        self.pid = 0
        self.held = False

    def release_after(self, caller: "_socket.socket", pidfd: int) -> None:
        """Let the process go on once the caller has seen enough, or either has ended."""
        if self.held:
            poll = select.poll()
            poll.register(caller.fileno(), select.POLLIN)
            poll.register(pidfd, select.POLLIN)
            poll.poll(_PATIENCE)
        self.release()

    def result(self) -> "dict[str, Any]":
        """Return all that was noted, for JSON.

        notes: pairs of name and moment. steps: name, part, moment of the last stamp (0: none),
        and of each operation its text, its moment (0: not known) and what became of it.
        """
        return {
            "notes": self.notes,
            "held": self.held,
            "steps": [
                self._traced(row, texts)
                for row, (_, _, texts) in zip(
                    self._blocks, listing.blocks(self._meant), strict=True
                )
            ],
        }

    def _traced(self, row: _Stamped, texts: "list[str]") -> "dict[str, Any]":
        moments = [self._moment(stamp) for stamp in row.stamps]
        return {
            "name": row.name,
            "part": row.part,
            "ended": max(moments, default=0),
            "operations": [
                [text, moment, outcome]
                for text, moment, outcome in zip(
                    texts, moments, _outcomes(row, moments), strict=True
                )
            ],
        }

    def _moment(self, stamp: int) -> int:
        if stamp < 0 or self._memory is None:
            return 0
        seconds, rest = _TIMESPEC.unpack_from(self._memory, stamp * _TIMESPEC.size)
        return int(seconds) * _BILLION + int(rest)


def _is_told(record: "Sequence[int]", level: int) -> bool:
    """Return whether an operation is to have a stamp: any call, or one behind which ways part."""
    kind, jump = record[2], record[3]
    if level == _ENDS:
        return False
    return (
        kind in (CALL, REPEAT) if level == _CALLS and not jump else kind in _PARTING and jump != 0
    )


# What became of an operation.
DONE, FAILED, NOT_NEEDED, UNKNOWN = "done", "failed", "not needed", "unknown"


def _outcomes(row: _Stamped, moments: "list[int]") -> "list[str]":
    """Return what became of each operation.

    One without the stamp that it should have has failed, and gone where it leads then.
    """
    records = list(OPERATION.iter_unpack(row.block.data))
    if any(
        _is_told(record, _FORKS) and stamp < 0
        for record, stamp in zip(records, row.stamps, strict=True)
    ):
        return [UNKNOWN] * len(records)
    found = [NOT_NEEDED] * len(records)
    at = 0
    while at < len(records):
        kind, jump = records[at][2], records[at][3]
        passed = kind != JUMP and (row.stamps[at] < 0 or moments[at] > 0 or not jump)
        found[at] = DONE if passed or kind == JUMP else FAILED
        if passed:
            at += 1
        elif jump > 0:
            at += jump
        else:
            break
    return found
