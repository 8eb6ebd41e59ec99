"""Times and sizes in Docker's words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from knarr.cli import human

HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (59 * 60, "59 minutes"),
        (HOUR, "About an hour"),
        (1.4 * HOUR, "About an hour"),
        (1.6 * HOUR, "2 hours"),
        (47 * HOUR, "47 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (60 * DAY, "2 months"),
        (730 * DAY, "2 years"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert human.duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (4262345, "4.26MB"),
        (123456789, "123MB"),
        (1.5e9, "1.5GB"),
        (999_999, "1000kB"),
        (3e30, "3000000YB"),
    ],
)
def test_size(count: float, words: str) -> None:
    assert human.size(count) == words


def test_moment_reads_nanoseconds_and_zero() -> None:
    assert human.moment("2026-01-02T03:04:05.123456789Z") == datetime(
        2026, 1, 2, 3, 4, 5, 123456, UTC
    )
    assert human.moment("2026-01-02T03:04:05+02:00") == datetime(2026, 1, 2, 1, 4, 5, 0, UTC)
    assert human.moment("0001-01-01T00:00:00Z") is None
    assert human.moment("") is None
    assert human.moment("yesterday") is None


def test_ellipsis_counts_itself() -> None:
    assert human.ellipsis("abcdef", 6) == "abcdef"
    assert human.ellipsis("abcdefg", 6) == "abcde…"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sh -c 'größe …'", "\"sh -c 'größe …'\""),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("\a\b\f\n\r\t\v", r'"\a\b\f\n\r\t\v"'),
        ("\x1b[2J\x7f\x9b2J", r'"\x1b[2J\x7f\u009b2J"'),
        ("\u202e\U000e0001\udcff", r'"\u202e\U000e0001\xff"'),
    ],
)
def test_quotes_as_go_has_them(text: str, shown: str) -> None:
    assert human.quoted(text) == shown


def test_what_moves_the_cursor_is_not_shown() -> None:
    assert human.visible("größe 1") == "größe 1"
    assert human.visible("a\x1b[2Jb\n\x9b\u202ec") == "a?[2Jb???c"
