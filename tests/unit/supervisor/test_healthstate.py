"""The rules of health checks, as moby's daemon/health.go has them, case by case."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.supervisor import healthstate
from knarr.supervisor import state as states
from knarr.supervisor.healthstate import Health, Result, Rules

SECOND = 10**9
STARTED = 1_700_000_000 * SECOND


def play(rules: dict[str, int], *checks: tuple[float, int]) -> tuple[Health, list[str]]:
    """Take in (seconds after the start, exit code), each; return the health and its changes."""
    health, changes = Health(), []
    for seconds, code in checks:
        at = STARTED + int(seconds * SECOND)
        if health.note(Result(at, at, code, ""), Rules(rules), STARTED):
            changes.append(health.status)
    return health, changes


@pytest.mark.parametrize(
    ("rules", "checks", "status", "streak", "changes"),
    [
        # nothing said: three failures in a row
        ({}, [], "starting", 0, []),
        ({}, [(30, 0)], "healthy", 0, ["healthy"]),
        ({}, [(30, 1), (60, 1)], "starting", 2, []),
        ({}, [(30, 1), (60, 1), (90, 1)], "unhealthy", 3, ["unhealthy"]),
        ({}, [(30, 1), (60, 1), (90, 0)], "healthy", 0, ["healthy"]),
        # whatever is not 0 is a failure, no result at all included
        ({"retries": 1}, [(1, 2)], "unhealthy", 1, ["unhealthy"]),
        ({"retries": 1}, [(1, -1)], "unhealthy", 1, ["unhealthy"]),
        ({"retries": 1}, [(1, 137)], "unhealthy", 1, ["unhealthy"]),
        # a negative number means what 0 does
        ({"retries": -4}, [(1, 1), (2, 1)], "starting", 2, []),
        # there and back again; a status that stays is not told twice
        (
            {"retries": 1},
            [(1, 1), (2, 0), (3, 1), (4, 1), (5, 0), (6, 0)],
            "healthy", 0, ["unhealthy", "healthy", "unhealthy", "healthy"],
        ),
        # one success ends the row
        ({"retries": 2}, [(1, 0), (2, 1), (3, 0), (4, 1)], "healthy", 1, ["healthy"]),
        (
            {"retries": 2},
            [(1, 0), (2, 1), (3, 1), (4, 1)],
            "unhealthy", 3, ["healthy", "unhealthy"],
        ),
        # in the start period failures do not count, at its end they do
        ({"retries": 1, "start_period": 30 * SECOND}, [(20, 1), (29.9, 1)], "starting", 0, []),
        ({"retries": 1, "start_period": 30 * SECOND}, [(30, 1)], "unhealthy", 1, ["unhealthy"]),
        (
            {"retries": 2, "start_period": 30 * SECOND},
            [(20, 1), (50, 1), (80, 1)],
            "unhealthy", 2, ["unhealthy"],
        ),
        # but they do once it has been healthy, also in that period
        (
            {"retries": 1, "start_period": 30 * SECOND},
            [(5, 0), (10, 1)],
            "unhealthy", 1, ["healthy", "unhealthy"],
        ),
    ],
)  # fmt: skip
def test_what_follows_from_results(
    rules: dict[str, int],
    checks: list[tuple[float, int]],
    status: str,
    streak: int,
    changes: list[str],
) -> None:
    health, changed = play(rules, *checks)
    assert (health.status, health.streak, changed) == (status, streak, changes)


def test_the_last_five_results_are_kept() -> None:
    health, _ = play({}, *((second, second) for second in range(1, 8)))
    assert [entry["exit_code"] for entry in health.log] == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("rules", "age", "checks", "seconds"),
    [
        ({}, 0, [], 30),
        ({"interval": 7 * SECOND}, 0, [], 7),
        ({"start_period": 20 * SECOND}, 0, [], 5),
        ({"start_period": 20 * SECOND, "start_interval": SECOND}, 19, [], 1),
        ({"start_period": 20 * SECOND, "start_interval": SECOND}, 19, [(1, 1)], 1),
        # once the period is over, or the container healthy, the usual time
        ({"start_period": 20 * SECOND, "start_interval": SECOND}, 20, [], 30),
        ({"start_period": 20 * SECOND, "start_interval": SECOND}, 2, [(1, 0)], 30),
    ],
)
def test_when_the_next_check_is(
    rules: dict[str, int], age: int, checks: list[tuple[float, int]], seconds: int
) -> None:
    health, _ = play(rules, *checks)
    assert health.interval(Rules(rules), age * SECOND) == seconds * SECOND


def test_nothing_checked_is_unhealthy() -> None:
    rules = {"retries": 3, "start_period": 100 * SECOND}
    health, _ = play(rules, (1, 0), (2, 1))
    health.stop()
    assert (health.status, health.streak) == ("unhealthy", 1)
    # and it is not starting any more, so that one failure counts and one success is told
    assert health.interval(Rules(rules), 0) == 30 * SECOND
    assert health.note(Result(STARTED, STARTED, 0, ""), Rules(rules), STARTED)


def test_the_file(tmp_path: Path) -> None:
    assert healthstate.read(str(tmp_path)) is None
    health = Health()
    health.note(Result(1, 2, 3, 'ä "x"\n'), Rules({}), 0)
    states.replace(str(tmp_path), health.encode(), healthstate.NAME)
    found = healthstate.read(str(tmp_path))
    assert found is not None
    assert (found.status, found.streak, found.log) == (health.status, 1, health.log)
    (tmp_path / healthstate.NAME).write_text("{")
    assert healthstate.read(str(tmp_path)) is None
