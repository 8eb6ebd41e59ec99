from __future__ import annotations

import signal

import pytest

from knarr.spec import signals


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", 15),
        ("TERM", 15),
        ("term", 15),
        ("sigkill", 9),
        ("15", 15),
        (9, 9),
        ("64", 64),
        (" HUP ", 1),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMIN+30", 64),
        ("RTMAX-14", 50),
        ("rtmax", 64),
        ("RTMAX-30", 34),
        ("IOT", 6),
        ("CLD", 17),
        ("POLL", 29),
    ],
)
def test_forms(text: str | int, number: int) -> None:
    assert signals.parse(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "", "0", 0, "-1", -1, "65", "99999999999999999999", "SIG", "SIGWHAT", "SIGSIGTERM",
        "RTMIN-1", "RTMAX+1", "RTMIN+31", "RTMAX-31", "RTMIN+", "RTMIN+x", "RTMIN+1x", "1.5",
        "\u0661", "TERM KILL",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str | int) -> None:
    with pytest.raises(ValueError, match=r"^invalid signal: "):
        signals.parse(text)


def test_numbers_are_this_machines() -> None:
    for member in signal.Signals:
        if member.name not in ("SIGRTMIN", "SIGRTMAX"):
            assert signals.parse(member.name) == member.value
    assert signals.parse("RTMIN") == signal.SIGRTMIN
    assert signals.parse("RTMAX") == signal.SIGRTMAX


def test_every_number_has_a_name_that_reads_back() -> None:
    for number in [*range(1, 32), *range(34, 65)]:
        assert signals.parse(signals.name(number)) == number
    assert signals.name(6) == "SIGABRT"
    assert signals.name(17) == "SIGCHLD"
    assert signals.name(37) == "SIGRTMIN+3"


@pytest.mark.parametrize("number", [0, 32, 33, 65, -1])
def test_numbers_without_a_signal(number: int) -> None:
    with pytest.raises(ValueError, match="invalid signal"):
        signals.name(number)
