"""Random programs do the same by machine code and by interpreter."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.runtime.program import carrier, interpreter, memory
from knarr.runtime.program.builder import Block, Builder, Label, Program
from knarr.runtime.program.memory import FAULT_AT, FAULT_ERROR, TEMPORARY, Cell

CELLS = TEMPORARY[:8]
# Descriptors that no test has open; what a program puts there is closed afterwards.
FIRST, COUNT = 900, 8
SOURCE, PIPE = FIRST + COUNT, FIRST + COUNT + 1
ERRORS = (1, 2, 9, 11, 14, 22, 95)
Emit = Callable[[Builder, Label], None]

pytestmark = pytest.mark.skipif(not carrier.SHARED, reason="no machine code for this machine")

cells = st.sampled_from(CELLS)
numbers = st.one_of(
    st.sampled_from([0, 1, -1, (1 << 63) - 1, -(1 << 63), 0xFFFFFFFF, 1 << 31]),
    st.integers(-(1 << 63), (1 << 63) - 1),
)
descriptors = st.integers(FIRST, FIRST + COUNT - 1)
words = st.integers(0, 0xFFFFFFFF)
named = st.lists(st.sampled_from(ERRORS), max_size=2).map(tuple)
outs = st.one_of(st.just(0), cells)


def _call(name: str, *arguments: int | Cell) -> st.SearchStrategy[Emit]:
    return st.builds(
        lambda out, errors, jumps: (
            lambda b, label: b.call(
                name, *arguments, out=out, errors=errors, orelse=label if jumps else None
            )
        ),
        outs,
        named,
        st.booleans(),
    )


def _end(b: Builder, label: Label) -> None:
    del label
    b.end()


operations: st.SearchStrategy[Emit] = st.one_of(
    st.builds(lambda c, v: lambda b, _: b.set(c, v), cells, st.one_of(numbers, cells)),
    st.builds(
        lambda c, mask, value, jumps, number: (
            lambda b, label: b.test(c, mask, value, orelse=label if jumps else None, errno=number)
        ),
        cells,
        words,
        st.one_of(words, st.just(0)),
        st.booleans(),
        st.integers(1, 4095),
    ),
    st.just(lambda b, label: b.jump(label)),
    st.builds(lambda number: lambda b, _: b.fail(number), st.integers(1, 4095)),
    st.just(_end),
    st.tuples(descriptors, st.booleans()).flatmap(
        lambda pair: _call("dup3", SOURCE, pair[0], os.O_CLOEXEC if pair[1] else 0)
    ),
    descriptors.flatmap(lambda fd: _call("close", fd)),
    # Through a cell whose value is whatever came before, except what would close ours.
    cells.flatmap(lambda c: _call("fcntl", c, 1, 0)),
    st.tuples(st.sampled_from([PIPE, FIRST]), st.integers(0, 3)).flatmap(
        lambda pair: _call("read", pair[0], memory.BYTE, pair[1])
    ),
    descriptors.flatmap(lambda fd: _call("fcntl", fd, 3)),
    _call("openat2", PIPE, 0, 0, 24),
)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Draw a program of a few blocks; each operation may jump to the end of its block."""
    made = Program()
    for number in range(draw(st.integers(1, 3))):
        b = Builder()
        labels = [Label() for _ in range(3)]
        emits = draw(st.lists(st.tuples(operations, st.integers(0, 2)), max_size=12))
        anywhere = st.integers(0, len(emits))
        # Only forwards; the last label is behind all, for those that have no other ahead.
        places = (*sorted((draw(anywhere), draw(anywhere))), len(emits))
        for index, (emit, which) in enumerate(emits):
            for label, place in zip(labels, places, strict=True):
                if place == index:
                    b.place(label)
            ahead = [lab for lab, place in zip(labels, places, strict=True) if place > index]
            emit(b, ahead[which % len(ahead)])
        for label, place in zip(labels, places, strict=True):
            if place == len(emits):
                b.place(label)
        made.add(f"block {number}", b.finish())
    made.add("end", _finish())
    return made


def _finish() -> Block:
    b = Builder()
    b.end()
    return b.finish()


def world(stack: ExitStack) -> None:
    """Open what the programs find: an empty file, and a pipe with four bytes."""
    null = os.open("/dev/null", os.O_RDONLY)
    reader, writer = os.pipe2(os.O_NONBLOCK)
    os.write(writer, b"abcd")
    os.dup2(null, SOURCE, inheritable=False)
    os.dup2(reader, PIPE, inheritable=False)
    for fd in (null, reader):
        os.close(fd)
    stack.callback(os.closerange, FIRST, PIPE + 1)
    stack.callback(os.close, writer)


def outcome(run: Callable[[int, int], int], program: Program, start: list[int]) -> object:
    """Carry ``program`` out in a world of its own and return all that can be seen of it."""
    memory.write(memory.BASE, bytes(4096))
    memory.write(memory.BYTE, bytes(8))
    for cell, value in zip(CELLS, start, strict=True):
        cell.set(value)
    with ExitStack() as stack:
        world(stack)
        result = run(program.address(), FAULT_AT)
        there = [(fd, os.get_inheritable(fd)) for fd in range(FIRST, PIPE + 1) if is_open(fd)]
        fault = (FAULT_AT.get(), FAULT_ERROR.get())
        return result, fault, [cell.get() for cell in CELLS], there, memory.read(memory.BYTE, 8)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def machine_code(first: int, fault: int) -> int:
    native = carrier._native
    assert native is not None
    return native[0](first, fault)


@pytest.fixture(autouse=True, scope="module")
def _reserved() -> Iterator[None]:
    assert not any(is_open(fd) for fd in range(FIRST, PIPE + 1))
    yield
    assert not any(is_open(fd) for fd in range(FIRST, PIPE + 1))


@settings(max_examples=400)
@given(programs(), st.lists(numbers, min_size=8, max_size=8))
def test_both_do_the_same(program: Program, start: list[int]) -> None:
    theirs = outcome(interpreter.run, program, start)
    assert outcome(machine_code, program, start) == theirs
