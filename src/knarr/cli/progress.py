"""Progress of slow work on stderr: bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Self, TextIO

from knarr.cli import human

if TYPE_CHECKING:
    from knarr.images.context import ProgressEvent

_WIDTH = 30
_EVERY = 0.1  # seconds between two paintings of one bar


class Progress:
    """Takes the events of the images room; use it as a context manager.

    On a terminal the last line is a bar that is painted over. Elsewhere one
    line is printed when something begins, and each line of text as it comes.
    """

    def __init__(self, *, quiet: bool = False, out: TextIO | None = None) -> None:
        self._out = sys.stderr if out is None else out
        self._quiet = quiet
        self._bars = not quiet and self._out.isatty() and os.environ.get("TERM") != "dumb"
        self._now: tuple[str, str] | None = None
        self._painted = 0.0
        self._open_line = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_line()

    def __call__(self, event: ProgressEvent) -> None:
        """Show one event."""
        if self._quiet:
            return
        subject = _shown(event.subject)
        if event.current is None:
            self._end_line()
            self._line(f"{event.action}: {subject}" if event.action else subject)
            return
        key = (event.action, event.subject)
        if not self._bars:
            if key != self._now:
                self._line(f"{event.action} {subject}")
        else:
            self._paint(event, key, subject)
        self._now = key

    def _paint(self, event: ProgressEvent, key: tuple[str, str], subject: str) -> None:
        assert event.current is not None
        if key != self._now:
            self._end_line()
        now = time.monotonic()
        done = event.total is not None and event.current >= event.total
        if key == self._now and not done and now - self._painted < _EVERY:
            return
        self._painted = now
        self._out.write(f"\r\x1b[K{event.action} {subject} {bar(event.current, event.total)}")
        self._out.flush()
        self._open_line = True

    def _line(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()

    def _end_line(self) -> None:
        if self._open_line:
            self._out.write("\n")
            self._out.flush()
            self._open_line = False


def bar(current: int, total: int | None) -> str:
    """Return ``[====>    ] 1.2MB/4.5MB``, or only the size when the total is not known."""
    if not total:
        return human.size(current)
    filled = min(_WIDTH, current * _WIDTH // total)
    head = ">" if filled < _WIDTH else ""
    body = ("=" * filled + head)[:_WIDTH].ljust(_WIDTH)
    return f"[{body}] {human.size(current)}/{human.size(total)}"


def _shown(subject: str) -> str:
    """Return a digest by its first twelve digits, anything else as it is, without controls."""
    if subject.startswith(("sha256:", "sha512:")):
        return subject.partition(":")[2][:12]
    return human.visible(subject)
