"""Building blocks of operations, and what to say when one of them fails."""

import os

from knarr.kernel.libc import NUMBERS
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.program import memory
from knarr.runtime.program.memory import Cell, address_of
from knarr.runtime.program.operations import (
    CALL,
    END,
    FAIL,
    JUMP,
    OPERATION,
    REPEAT,
    SET,
    SIZE,
    TEST,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    # Given the name of the block and an error number. Otherwise: the call's name and a path.
    Explain = Callable[[str, int], RuntimeFailure]
    Argument = int | str | bytes | None
    Note = tuple[str, str | None] | Explain

_MASK = 0xFFFFFFFFFFFFFFFF
_REACH = 1 << 15  # operations that a jump can go
_ERRORS = 2  # that an operation can tell apart from others


def text(value: str) -> bytes:
    """Return a text as the kernel takes it, ended by its first NUL; ValueError if it has one."""
    if "\0" in value:
        raise ValueError(f"{value!r} has a NUL byte")
    return os.fsencode(value)


class Told:
    """Explains a failure by a text that is known before, with the kernel's reason behind it.

    reason=False: the text says it all. numbered=False: no system call failed.
    """

    __slots__ = ("kind", "numbered", "reason", "step", "text")

    def __init__(
        self, kind: str, step: str, text: str, *, reason: bool = True, numbered: bool = True
    ) -> None:
        self.kind = kind
        self.step = step
        self.text = text
        self.reason = reason
        self.numbered = numbered

    def __call__(self, name: str, number: int) -> RuntimeFailure:
        """Return the failure for an error number."""
        del name
        text = f"{self.text}: {os.strerror(number)}" if self.reason else self.text
        return RuntimeFailure(self.kind, self.step, text, number if self.numbered else 0)


class Block:
    """Finished operations: data, one note for each, and the objects that they point into.

    It can stand anywhere in a program: jumps are relative, cells are in ``memory``.
    """

    __slots__ = ("data", "keep", "notes")

    def __init__(self, data: bytes, notes: "list[Note]", keep: "list[bytes]") -> None:
        self.data = data
        self.notes = notes
        self.keep = keep


class Label:
    """A place in a block that jumps lead to."""

    __slots__ = ("at", "jumps")

    def __init__(self) -> None:
        self.at = -1
        self.jumps: list[int] = []


class Builder:
    """Writes one block. Methods take arguments in the order of the system call's manual page.

    An argument is a number, a ``Cell`` whose value is taken when the call is made,
    a text (path or name, given by its address), bytes (a structure), or None for 0.
    """

    __slots__ = ("_jumps", "_keep", "_labels", "_notes", "_operations")

    def __init__(self) -> None:
        self._operations: list[tuple[int, ...]] = []
        self._notes: list[Note] = []
        self._keep: list[bytes] = []
        self._labels: list[Label] = []
        self._jumps = 0

    def call(
        self,
        name: str,
        *arguments: "Argument",
        out: int = 0,
        orelse: "Label | None" = None,
        errors: "tuple[int, ...]" = (),
        path: "str | None" = None,
        explain: "Explain | None" = None,
    ) -> None:
        """Add a system call.

        out: cell for its result. orelse: where to go on when it fails with one of
        ``errors`` (at most two, none named: with any). path: what a message about its
        failure names. explain: makes the failure.
        """
        # A scoped look-up that a rename or a mount races has to be made again (openat2(2)).
        kind = REPEAT if name == "openat2" else CALL
        self._add(
            kind, NUMBERS[name], arguments, out=out, orelse=orelse, errors=errors,
            note=explain or (name, path),
        )  # fmt: skip

    def set(self, cell: Cell, value: "Argument") -> None:
        """Store a value in a cell."""
        self._add(SET, 0, (value,), out=cell)

    def test(
        self,
        address: int,
        mask: int,
        value: int,
        *,
        orelse: "Label | None" = None,
        errno: int = 22,
        explain: "Explain | None" = None,
        path: "str | None" = None,
    ) -> None:
        """Go on if 32 bits in memory, masked, have this value; else jump or fail with ``errno``."""
        # The address itself, also where it is a cell's.
        arguments = (int(address), mask, value, errno)
        self._add(TEST, 0, arguments, orelse=orelse, note=explain or ("check", path))

    def jump(self, label: Label) -> None:
        """Go on at a label."""
        self._add(JUMP, 0, (), orelse=label)

    def fail(self, errno: int, explain: "Explain | None" = None, path: "str | None" = None) -> None:
        """End the program as a failure."""
        self._add(FAIL, 0, (errno,), note=explain or ("check", path))

    def end(self) -> None:
        """End the program well."""
        self._add(END, 0, ())

    def place(self, label: Label) -> None:
        """Say that a label is here."""
        label.at = len(self._operations)
        self._labels.append(label)

    def _add(
        self,
        kind: int,
        number: int,
        arguments: "tuple[Argument, ...]",
        *,
        out: int = 0,
        orelse: "Label | None" = None,
        errors: "tuple[int, ...]" = (),
        note: "Note" = ("", None),
    ) -> None:
        values = [0, 0, 0, 0, 0, 0]
        indirect = 0
        for index, argument in enumerate(arguments):
            if type(argument) is int:
                values[index] = argument & _MASK
            elif type(argument) is Cell:
                values[index] = argument
                indirect |= 1 << index
            elif argument is not None:
                values[index] = self.address(argument)  # type: ignore[arg-type]
        if orelse is not None:
            orelse.jumps.append(len(self._operations))
            self._jumps += 1
        if len(errors) > _ERRORS:
            raise ValueError(f"an operation has room for {_ERRORS} errors")
        first, second = (*errors, 0, 0)[:_ERRORS]
        self._operations.append((number, indirect, kind, 0, first, second, out, *values))
        self._notes.append(note)

    def address(self, value: "str | bytes") -> int:
        """Return where a text or structure stands for as long as the block exists.

        Raises ValueError for a text with a NUL, TypeError for something else.
        """
        data = text(value) if isinstance(value, str) else value
        if not isinstance(data, bytes):
            raise TypeError(f"{value!r} is not a text")
        self._keep.append(data)
        return address_of(data)

    def finish(self) -> Block:
        """Return the block; ValueError for a jump that leads nowhere, to itself or too far."""
        operations = self._operations
        placed = sum(len(label.jumps) for label in self._labels)
        if placed != self._jumps:
            raise ValueError("a label that operations jump to was not placed, or placed twice")
        for label in self._labels:
            for at in label.jumps:
                if label.at == at:
                    raise ValueError(f"operation {at} jumps to itself")
                if not -_REACH <= label.at - at < _REACH:
                    raise ValueError(f"operation {at} jumps to {label.at}, which is too far away")
                operation = operations[at]
                operations[at] = (*operation[:3], label.at - at, *operation[4:])
        pack = OPERATION.pack
        data = b"".join([pack(*operation) for operation in operations])
        return Block(data, self._notes, self._keep)


class Program:
    """Blocks in a row, each the operations of one thing that can be named."""

    __slots__ = ("_blocks", "_data", "_kept", "_names", "_parts")

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._names: list[str | Callable[[], str]] = []
        self._parts: list[str] = []
        self._kept: list[object] = []
        self._data = b""

    def add(self, name: "str | Callable[[], str]", block: Block, part: str = "") -> None:
        """Append a block; ``name`` is, or returns, what a message about a failure begins with.

        part: which part it is of what has that name.
        """
        self._names.append(name)
        self._parts.append(part)
        self._blocks.append(block)

    def keep(self, *objects: object) -> None:
        """Keep what cells point into as long as the program exists."""
        self._kept += objects

    def blocks(self) -> "list[tuple[str, Block]]":
        """Return the blocks in their order, each with its name."""
        names = [name if isinstance(name, str) else name() for name in self._names]
        return list(zip(names, self._blocks, strict=True))

    def parts(self) -> "list[str]":
        """Return which part of what its name says each block is, empty where it is all of it."""
        return self._parts

    def data(self) -> bytes:
        """Return the operations."""
        return b"".join([block.data for block in self._blocks])

    def address(self) -> int:
        """Return where the operations stand, for as long as this object exists."""
        self._data = self.data()
        return address_of(self._data)

    def regions(self) -> "list[tuple[int, int]]":
        """Return address and size of all that the operations and cells point to, and of them.

        After ``address``; what is in ``memory`` is not among them.
        """
        found = [(address_of(self._data), len(self._data))]
        for kept in (*(each for block in self._blocks for each in block.keep), *self._kept):
            if isinstance(kept, bytes):
                found.append((address_of(kept), len(kept) + 1))
            else:
                found.append(kept.region)  # type: ignore[attr-defined]
        return found

    def failure(self) -> "RuntimeFailure | None":
        """Return why the program failed, as the fault cells have it; None when it did not."""
        errno = memory.FAULT_ERROR.get()
        if not errno:
            return None
        at = memory.FAULT_AT.get()
        for name, block in self.blocks():
            if at < len(block.notes):
                return _explain(name, block.notes[at], errno)
            at -= len(block.notes)
        return RuntimeFailure("error", "program", f"operation {at}: {os.strerror(errno)}", errno)

    def __len__(self) -> int:
        return sum(len(block.data) for block in self._blocks) // SIZE


def _explain(name: str, note: "Note", errno: int) -> RuntimeFailure:
    if not isinstance(note, tuple):
        return note(name, errno)
    call, path = note
    where = f": {path}" if path else ""
    return RuntimeFailure("error", name, f"{name}: {call}: {os.strerror(errno)}{where}", errno)
