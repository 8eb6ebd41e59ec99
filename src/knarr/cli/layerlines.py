"""Pulls and pushes as Docker shows them: a line for each layer, painted over on a terminal.

Elsewhere a line is printed for each step of a layer, and none for the bytes that have come.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, TextIO

from knarr.cli import human
from knarr.cli.exitcodes import CommandError
from knarr.cli.progress import bar

if TYPE_CHECKING:
    from knarr.images.context import ProgressEvent
    from knarr.images.reference import Reference

_EVERY = 0.1  # seconds between two paintings of one line
_ID = 12


class LayerLines:
    """Takes the events of a pull or push. Not for several threads at once."""

    def __init__(self, *, quiet: bool = False, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out
        self._quiet = quiet
        self._paints = self._out.isatty() and os.environ.get("TERM") != "dumb"
        self._rows: dict[str, int] = {}
        self._count = 0
        self._painted: dict[str, float] = {}
        self._said: dict[str, str] = {}

    def __call__(self, event: ProgressEvent) -> None:
        """Show one event: a step of a layer, or a line of text."""
        if event.action in ("Warning", "Skipped"):
            word = "WARNING: " if event.action == "Warning" else "Skipped: "
            print(word + human.visible(event.subject), file=sys.stderr)
            return
        if self._quiet:
            return
        if not event.action:
            self._append(human.visible(event.subject))
            return
        name = human.visible(event.subject.partition(":")[2] or event.subject)[:_ID]
        if event.current is None or self._is_new(name, event):
            self._show(name, event)

    def line(self, text: str) -> None:
        """Print a line below all others."""
        if not self._quiet:
            self._append(human.visible(text))

    def reference(self, name: str, *, all_tags: bool) -> Reference:
        """Return what a name stands for, and say so where its tag is understood.

        Raises CommandError for a tag beside --all-tags, InvalidArgument.
        """
        from knarr.images.reference import Reference

        reference = Reference.parse(name, default_tag=False)
        is_bare = reference.tag is None and reference.digest is None
        if all_tags and not is_bare:
            raise CommandError("tag can't be used with --all-tags/-a")
        if not all_tags and is_bare:
            reference = reference.with_tag("latest")
            self.line("Using default tag: latest")
        return reference

    def _is_new(self, name: str, event: ProgressEvent) -> bool:
        """Return whether an event with bytes is to be shown: not elsewhere than on a terminal."""
        now = time.monotonic()
        if not self._paints:
            return False
        is_end = event.total is not None and event.current == event.total
        if self._said.get(name) == event.action and not is_end:
            if now - self._painted.get(name, 0.0) < _EVERY:
                return False
        self._painted[name] = now
        return True

    def _show(self, name: str, event: ProgressEvent) -> None:
        self._said[name] = event.action
        text = f"{name}: {event.action}"
        if event.current is not None:
            text += f" {bar(event.current, event.total)}"
        if not self._paints:
            self._append(text)
            return
        if name not in self._rows:
            self._rows[name] = self._count
            self._append(text)
            return
        up = self._count - self._rows[name]
        columns, lines = _size(self._out)
        if up < lines:  # what has scrolled away cannot be painted over
            self._out.write(f"\x1b[{up}A\r\x1b[2K{text[: columns - 1]}\r\x1b[{up}B")
            self._out.flush()

    def _append(self, text: str) -> None:
        self._out.write((text[: _size(self._out)[0] - 1] if self._paints else text) + "\n")
        self._out.flush()
        self._count += 1


def _size(out: TextIO) -> tuple[int, int]:
    try:
        columns, lines = os.get_terminal_size(out.fileno())
    except OSError:
        columns, lines = 0, 0
    return columns or 80, lines or 24  # a terminal that nobody has told its size says 0
