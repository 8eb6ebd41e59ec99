"""Bars on a terminal, lines elsewhere."""

from __future__ import annotations

import io

import pytest

from knarr.cli.progress import Progress, bar
from knarr.images.context import ProgressEvent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


EVENTS = (
    ProgressEvent("Reading", "sha256:" + "ab" * 32, 0, 100),
    ProgressEvent("Reading", "sha256:" + "ab" * 32, 100, 100),
    ProgressEvent("", "a line from a tool\x1b[2J"),
    ProgressEvent("Unpacking", "layer", 5, None),
)


def test_lines_where_nobody_sees_bars() -> None:
    out = io.StringIO()
    with Progress(out=out) as progress:
        for event in EVENTS:
            progress(event)
    assert out.getvalue() == "Reading abababababab\na line from a tool?[2J\nUnpacking layer\n"


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with Progress(out=out) as progress:
        for event in EVENTS:
            progress(event)
    text = out.getvalue()
    assert "\r\x1b[KReading abababababab [>" in text
    assert "[" + "=" * 30 + "] 100B/100B\n" in text
    assert text.endswith("Unpacking layer 5B\n")


def test_quiet_is_silent() -> None:
    out = io.StringIO()
    with Progress(quiet=True, out=out) as progress:
        progress(EVENTS[0])
    assert out.getvalue() == ""


def test_bar_without_a_total_is_the_size() -> None:
    assert bar(1500, None) == "1.5kB"
    assert bar(50, 100).count("=") == 15
