"""What a compiled filter says of a system call, whatever its arguments are: read, not run.

Not on the start path. It understands what ``compiler`` writes, and no more of classic BPF.
"""

import errno
import struct

from knarr.runtime.seccomp import model
from knarr.runtime.seccomp.assembler import (
    AND,
    DATA_ARCH,
    DATA_NR,
    JA,
    JEQ,
    JGE,
    JGT,
    LD_WORD,
    RET,
)

_INSTRUCTION = struct.Struct("=HBBI")
_MASK = 0xFFFF
_NAMES = {number: name.removeprefix("SCMP_ACT_").lower() for name, number in model.ACTIONS.items()
          if name != "SCMP_ACT_KILL"}  # fmt: skip


def instructions(program: bytes) -> "list[tuple[int, int, int, int]]":
    """Return the instructions of a filter: code, jumps if true and false, operand."""
    return list(_INSTRUCTION.iter_unpack(program))


def answers(code: "list[tuple[int, int, int, int]]", audit: int, number: int) -> set[int]:
    """Return all SECCOMP_RET_* values that a call can get. Several: its arguments decide.

    audit: the architecture as the kernel reports it. Raises ValueError for another instruction
    than the compiler's.
    """
    known = {DATA_NR: number, DATA_ARCH: audit}
    found: set[int] = set()
    # Where to go on, and what is in the accumulator: None is an argument, of any value.
    todo: list[tuple[int, int | None]] = [(0, 0)]
    seen: set[tuple[int, int | None]] = set()
    while todo:
        state = todo.pop()
        if state in seen:
            continue
        seen.add(state)
        at, value = state
        what, true, false, operand = code[at]
        following = at + 1
        if what == RET:
            found.add(operand)
        elif what == LD_WORD:
            todo.append((following, known.get(operand)))
        elif what == AND:
            todo.append((following, None if value is None else value & operand))
        elif what == JA:
            todo.append((following + operand, value))
        elif value is None:
            todo += [(following + true, None), (following + false, None)]
        else:
            todo.append((following + (true if _holds(what, value, operand) else false), value))
    return found


def _holds(what: int, value: int, operand: int) -> bool:
    if what == JEQ:
        return value == operand
    if what == JGT:
        return value > operand
    if what == JGE:
        return value >= operand
    raise ValueError(f"seccomp: no instruction of ours: {what:#x}")


def passes(answer: int) -> bool:
    """Return whether a call with that answer is made."""
    return answer & model.RET_ACTION_MASK in (model.RET_ALLOW, model.RET_LOG)


def describe(answer: int) -> str:
    """Return an answer in words: ``allow``, ``errno EPERM``, ``kill_process``."""
    action, data = answer & model.RET_ACTION_MASK, answer & _MASK
    name = _NAMES.get(action, f"{action:#x}")
    if action == model.RET_ERRNO:
        return f"{name} {errno.errorcode.get(data, data)}"
    return name
