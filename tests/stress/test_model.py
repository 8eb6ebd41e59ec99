"""The model says no to what cannot be; without that the random lives would show nothing."""

from __future__ import annotations

import pytest

from tests.stress.model import (
    ABSENT,
    BRIEF,
    CREATED,
    PAUSED,
    POLITE,
    RUNNING,
    SLEEPER,
    Box,
    Kind,
    State,
    exited,
)


def box(kind: Kind, *states: State, policy: str = "", deaths: bool = False) -> Box:
    return Box("one", kind, policy, may=frozenset(states), deaths=deaths)


@pytest.mark.parametrize(
    ("state", "verb", "succeeded"),
    [
        (PAUSED, "start", True), (PAUSED, "exec", True), (PAUSED, "rm", True),
        (RUNNING, "rm", True), (RUNNING, "unpause", True), (RUNNING, "exec", False),
        (CREATED, "kill", True), (CREATED, "start", False), (exited(137), "pause", True),
        (exited(137), "rm", False), (ABSENT, "inspect", True), (CREATED, "inspect", False),
    ],
)  # fmt: skip
def test_what_cannot_go_so(state: State, verb: str, succeeded: bool) -> None:
    assert not box(SLEEPER, state).apply(verb, succeeded=succeeded)
    assert box(SLEEPER, state).apply(verb, succeeded=not succeeded)


def test_what_cannot_be_seen() -> None:
    stopped = box(SLEEPER, RUNNING)
    assert stopped.apply("stop", succeeded=True)
    assert not stopped.observe("running", 0)
    assert not stopped.observe("exited", 0)
    assert stopped.observe("exited", 137)


def test_what_ends_by_itself_may_run_or_not() -> None:
    brief = box(BRIEF, CREATED)
    assert brief.apply("start", succeeded=True)
    assert brief.may == {RUNNING, exited(3)}
    assert brief.observe("exited", 3)
    assert not brief.observe("running", 0)


def test_a_policy_has_it_run_again() -> None:
    polite = box(POLITE, RUNNING, policy="unless-stopped")
    assert polite.apply("crash", succeeded=True)
    assert {state.status for state in polite.may} == {"running", "restarting"}
    assert polite.apply("stop", succeeded=True)
    assert {state.status for state in polite.may} == {"exited"}


def test_an_unknown_outcome_leaves_both() -> None:
    one = box(SLEEPER, CREATED, deaths=True)
    one.apply_unknown("start")
    assert one.observe("created", 0)
    assert one.observe("running", 0)  # a start that was under way
    assert one.apply("kill", succeeded=True)
    assert one.observe("exited", 255)  # nobody was left to tell how it ended
    assert not one.observe("created", 0)
