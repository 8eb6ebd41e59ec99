"""Descriptors and moments are attended to in their order, and nothing that is over is."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterator

import pytest

from knarr.networks.resolver.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def test_timers_come_in_their_order_whatever_their_length(loop: Loop) -> None:
    came: list[str] = []
    loop.later(0.03, lambda: came.append("late"))
    loop.later(0.01, lambda: came.append("early"))
    loop.later(0.01, lambda: came.append("early too"))
    while len(came) < 3:
        loop.turn()
    assert came == ["early", "early too", "late"]


def test_what_was_called_off_does_not_come_and_is_not_waited_for(loop: Loop) -> None:
    came: list[str] = []
    loop.later(1000.0, lambda: came.append("never")).cancel()
    loop.later(0.01, lambda: came.append("now"))
    began = time.monotonic()
    loop.turn()
    assert came == ["now"] or not came
    while not came:
        loop.turn()
    assert came == ["now"]
    assert time.monotonic() - began < 100


def test_what_was_called_off_is_not_kept(loop: Loop) -> None:
    last = loop.later(1000.0, lambda: None)  # stays in front of all that come
    gone = [weakref.ref(thing) for thing in (Thing(loop) for _ in range(100))]
    assert [each() for each in gone] == [None] * 100
    last.cancel()
    last.cancel()  # again is no error


class Thing:
    """What waits for something that comes before its time is over."""

    def __init__(self, loop: Loop) -> None:
        loop.later(1000.0, self.act).cancel()

    def act(self) -> None:
        """Never called."""


def test_a_timer_may_set_another(loop: Loop) -> None:
    came: list[int] = []

    def again() -> None:
        came.append(len(came))
        if len(came) < 3:
            loop.later(0.0, again)

    loop.later(0.0, again)
    while len(came) < 3:
        loop.turn()
    assert came == [0, 1, 2]


def test_a_descriptor_that_is_forgotten_in_the_same_round_is_not_attended_to(loop: Loop) -> None:
    first, second = os.pipe(), os.pipe()
    came: list[int] = []

    def one(other: int) -> None:
        came.append(other)
        loop.remove(other)

    loop.add(first[0], lambda _: one(second[0]))
    loop.add(second[0], lambda _: one(first[0]))
    os.write(first[1], b"x")
    os.write(second[1], b"x")
    loop.turn()
    assert len(came) == 1
    for fd in (*first, *second):
        os.close(fd)


def test_a_descriptor_that_was_never_there_is_forgotten_all_the_same(loop: Loop) -> None:
    loop.remove(12345)
