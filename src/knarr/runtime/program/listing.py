"""A program as text, for people and tests: system calls by name, cells and texts as such.

A record does not say how many arguments its call takes, so zeros at the end are left out.
"""

import errno as numbers

from knarr.kernel.libc import NUMBERS
from knarr.runtime.program import memory
from knarr.runtime.program.memory import address_of
from knarr.runtime.program.operations import (
    CALL,
    FAIL,
    JUMP,
    OPERATION,
    REPEAT,
    SET,
    TEST,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.runtime.program.builder import Block, Program

_CALLS = {number: name for name, number in NUMBERS.items()}
_WITHOUT_ARGUMENTS = ("setsid",)
_DECIMAL = 256  # from here on a number is shown in hexadecimal: most are flags or masks
_MINUS = 1 << 63
_WORD = 8
_SHOWN = 32  # bytes of a structure that is shown by its words


def _places() -> "dict[int, str]":
    """Return the names of what has one in ``memory``, by address."""
    found: dict[int, str] = {}
    for name, value in vars(memory).items():
        if not name.isupper() or name in ("BASE", "END"):
            continue
        if isinstance(value, tuple):
            found |= {int(cell): f"{name}[{index}]" for index, cell in enumerate(value)}
        elif isinstance(value, int) and memory.BASE <= value < memory.END:
            found[int(value)] = name
    for index in range(memory.MOUNTS_MAX):
        found[int(memory.mount_cell(index))] = f"MOUNT[{index}]"
    return found


_names = _places()


def describe(program: "Program") -> "list[str]":
    """Return a program as lines: each block's name, and below it its operations.

    The number of an operation counts from the start of the program, as that of a failure
    does. ``A = call(…)`` puts the result in cell A, ``ENOENT: 7`` goes on at operation 7
    when the call fails in this way, and ``else: 7`` whenever it fails.
    """
    lines: list[str] = []
    at = 0
    above = None
    for name, _, operations in blocks(program):
        if name != above:
            lines.append(f"{name}:")
            above = name
        for line in operations:
            lines.append(f"{at:5}  {line}")
            at += 1
    return lines


def blocks(program: "Program") -> "list[tuple[str, str, list[str]]]":
    """Return name, part and operations of each block; see ``describe``."""
    found = []
    at = 0
    for (name, block), part in zip(program.blocks(), program.parts(), strict=True):
        operations = _block(block, at)
        found.append((name, part, operations))
        at += len(operations)
    return found


def _block(block: "Block", first: int) -> "list[str]":
    objects = {address_of(kept): kept for kept in block.keep}
    records = OPERATION.iter_unpack(block.data)
    return [_operation(record, first + index, objects) for index, record in enumerate(records)]


def _operation(record: "tuple[int, ...]", at: int, objects: "dict[int, bytes]") -> str:
    number, indirect, kind, jump, first, second, out, *values = record
    arguments = [
        _place(value, objects) if indirect >> index & 1 else _value(value, objects)
        for index, value in enumerate(values)
    ]
    result = f"{_place(out, objects)} = " if out else ""
    if kind in (CALL, REPEAT):
        name = _CALLS.get(number, f"call {number}")
        text = f"{result}{name}({', '.join(_shortened(name, arguments, record))})"
    elif kind == SET:
        return f"{result}{arguments[0]}"
    elif kind == TEST:
        text = f"test {_place(values[0], objects)} & {arguments[1]} == {arguments[2]}"
        text += "" if jump else f", else {_error(values[3])}"
    elif kind == JUMP:
        return f"go to {at + jump}"
    elif kind == FAIL:
        return f"fail with {_error(values[0])}"
    else:
        return "end"
    if not jump:
        return text
    when = " ".join(_error(error) for error in (first, second) if error) or "else"
    return f"{text}  {when}: {at + jump}"


def _shortened(name: str, arguments: "list[str]", record: "tuple[int, ...]") -> "list[str]":
    """Return the arguments without the zeros at the end; one is always shown."""
    if name in _WITHOUT_ARGUMENTS:
        return []
    values = record[7:]
    length = len(values)
    while length > 1 and values[length - 1] == 0:
        length -= 1
    return arguments[:length]


def _error(number: int) -> str:
    return numbers.errorcode.get(number, str(number))


def _place(address: int, objects: "dict[int, bytes]") -> str:
    """Return the name of what stands at an address: a cell, a buffer, a part of one."""
    if address in _names:
        return _names[address]
    if memory.BASE <= address < memory.END:
        start = max(place for place in _names if place <= address)
        return f"{_names[start]}+{address - start}"
    for start, data in objects.items():
        if start <= address < start + len(data):
            return f"{_object(data, objects)}+{address - start}"
    return f"{address:#x}"


def _value(value: int, objects: "dict[int, bytes]") -> str:
    """Return an argument that is taken as it is: an object, an address, a number."""
    if value in objects:
        return _object(objects[value], objects)
    if memory.BASE <= value < memory.END:
        return f"&{_place(value, objects)}"
    if value >= _MINUS:
        value -= 2 * _MINUS
    return f"{value:#x}" if value >= _DECIMAL else str(value)


def _object(data: bytes, objects: "dict[int, bytes]") -> str:
    """Return a text in quotes, a list of texts, the words of a small structure, or its size."""
    text = data.decode("ascii", "replace")
    if data.isascii() and text.isprintable():
        return f'"{text}"'
    if len(data) % _WORD:
        return f"<{len(data)} bytes>"
    words = [int.from_bytes(data[at : at + _WORD], "little") for at in range(0, len(data), _WORD)]
    *pointers, last = words
    if pointers and last == 0 and all(word in objects for word in pointers):
        return f"[{', '.join(_object(objects[word], objects) for word in pointers)}]"
    if len(data) > _SHOWN:
        return f"<{len(data)} bytes>"
    return f"{{{', '.join(_value(word, objects) for word in words)}}}"
