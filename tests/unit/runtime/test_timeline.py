"""A program with clocks in it does what it did, and tells which way it went."""

from __future__ import annotations

import errno
import os

import pytest

from knarr.runtime.program import carrier, memory
from knarr.runtime.program.builder import Block, Builder, Label, Program
from knarr.runtime.program.memory import TEMPORARY
from knarr.runtime.program.operations import SIZE
from knarr.runtime.timeline import Timeline

FD = TEMPORARY[0]


def paths() -> Block:
    """Open what is not there, go on at something else, close it."""
    b = Builder()
    missing, done = Label(), Label()
    b.call("openat", -100, "/proc/nonexistent", os.O_RDONLY | os.O_CLOEXEC, out=FD, orelse=missing,
           errors=(errno.ENOENT,))  # fmt: skip
    b.jump(done)
    b.place(missing)
    b.call("openat", -100, "/dev/null", os.O_RDONLY | os.O_CLOEXEC, out=FD)
    b.place(done)
    b.set(TEMPORARY[1], 7)
    b.call("close", FD)
    return b.finish()


def ending() -> Block:
    b = Builder()
    b.end()
    return b.finish()


def program() -> Program:
    made = Program()
    made.add("paths", paths())
    made.add("last", ending(), "execute")
    return made


@pytest.mark.parametrize("room", [0, 64, 8 * SIZE])
def test_it_goes_the_same_way(room: int) -> None:
    timeline = Timeline(1)
    stamped = timeline.stamped(program(), None, room)
    assert len(stamped) > len(program())
    assert carrier.run(stamped) == 0
    assert memory.TEMPORARY[1].get() == 7
    steps = timeline.result()["steps"]
    assert [(step["name"], step["part"]) for step in steps] == [("paths", ""), ("last", "execute")]
    first, last = steps
    assert first["ended"] > 0
    assert last["ended"] == 0  # there may be a filter
    outcomes = [outcome for _, _, outcome in first["operations"]]
    if room == 64:
        assert set(outcomes) == {"unknown"}  # there is room for the end alone
    else:
        assert outcomes == ["failed", "not needed", "done", "done", "done"]
    moments = [moment for _, moment, _ in first["operations"] if moment]
    assert moments == sorted(moments)
    assert len(moments) == (2 if room == 0 else 1)


def test_a_failure_is_told_with_its_own_note() -> None:
    b = Builder()
    b.call("openat", -100, "/dev/null", os.O_RDONLY | os.O_CLOEXEC, out=FD)
    b.call("close", FD)
    b.call("openat", -100, "/proc/nonexistent", os.O_RDONLY, path="/proc/nonexistent")
    made = Program()
    made.add("looking", b.finish())
    made.add("last", ending())
    stamped = Timeline(1).stamped(made, None, 0)
    assert carrier.run(stamped) == -errno.ENOENT
    failure = stamped.failure()
    assert failure is not None
    assert failure.message == "looking: openat: No such file or directory: /proc/nonexistent"


def test_a_block_that_is_under_way_stays_as_it_is() -> None:
    before = paths()
    made = Program()
    made.add("create", before)
    made.add("last", ending())
    stamped = Timeline(1).stamped(made, before, 0)
    assert stamped.data().startswith(before.data)
