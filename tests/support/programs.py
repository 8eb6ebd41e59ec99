"""Small programs of system calls, written and carried out in this process."""

from __future__ import annotations

from collections.abc import Callable

from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.program import carrier
from knarr.runtime.program.builder import Block, Builder, Program

Write = Callable[[Builder], object]


def block(write: Write) -> Block:
    """Return the block that ``write`` writes."""
    builder = Builder()
    write(builder)
    return builder.finish()


def program(*writes: Write) -> Program:
    """Return a program of one block for each, named ``block 0`` and so on, and an end."""
    made = Program()
    for number, write in enumerate(writes):
        made.add(f"block {number}", block(write))
    made.add("end", block(Builder.end))
    return made


def carry(*writes: Write) -> None:
    """Carry out what they write. Raises OSError with the failure's text."""
    made = program(*writes)
    result = carrier.run(made)
    failure = made.failure()
    assert (failure is None) == (result == 0)
    if failure is not None:
        assert result == -failure.errno
        raise OSError(failure.errno, failure.message)


def failure(*writes: Write) -> RuntimeFailure:
    """Carry out what they write and return why it failed."""
    made = program(*writes)
    result = carrier.run(made)
    found = made.failure()
    assert found is not None
    assert result == -found.errno
    return found
