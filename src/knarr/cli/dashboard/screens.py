"""The two screens over the table: a question, and the output of a container."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Label, Log

from knarr.cli import human
from knarr.errors import KnarrError

if TYPE_CHECKING:
    from knarr.engine.container import Container

_BACKLOG = 500  # lines that are shown at first
_KEPT = 5000  # lines that can be scrolled back to
_WIDEST = 8192  # bytes of a line that are shown
_PAUSE = 0.1  # seconds between two looks at what has been read
# Colours, titles and moves of the cursor (ECMA-48): a container must not write on this screen.
_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


class Question(ModalScreen[bool]):
    """Asks something to be answered with y or n."""

    CSS = """
    Question { align: center middle; }
    Question > Vertical {
        width: auto; max-width: 80%; height: auto; padding: 1 3; border: round $warning;
        background: $surface;
    }
    Question Label { width: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Show the question and its answers."""
        with Vertical():
            yield Label(self._text, markup=False)
            yield Label("y: yes   n: no", markup=False)

    def action_answer(self, yes: bool) -> None:
        """End with an answer."""
        self.dismiss(yes)


class Output(ModalScreen[None]):
    """What a container has written and goes on to write, until a key closes it.

    Modal, so that the keys of the table act on nothing that cannot be seen.
    """

    CSS = """
    Output { background: $background; }
    Output Label { background: $primary; color: $text; width: 100%; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,l", "leave", "Back"),
        Binding("g", "top", "Top"),
        Binding("G", "bottom", "Bottom, go on"),
    ]

    def __init__(self, container: Container, name: str) -> None:
        super().__init__()
        self._container = container
        self._of = name
        self._shown = Log(max_lines=_KEPT)
        self._fresh: deque[str] = deque(maxlen=_KEPT)
        self._ended, self._end = os.pipe2(os.O_CLOEXEC)
        self._reader = threading.Thread(target=self._follow, name="knarr-logs", daemon=True)

    def compose(self) -> ComposeResult:
        """Show the lines with a title above."""
        yield Label(f"{human.visible(self._of)}: logs", markup=False)
        yield self._shown
        yield Footer()

    def on_mount(self) -> None:
        """Begin to read."""
        self._reader.start()
        self.set_interval(_PAUSE, self._show)
        self._shown.focus()

    def on_unmount(self) -> None:
        """End the reader, which may wait for more, and close what it had."""
        os.write(self._end, b".")
        self._reader.join()
        os.close(self._ended)
        os.close(self._end)

    def _follow(self) -> None:
        try:
            entries = self._container.logs(follow=True, tail=_BACKLOG, lines=True, stop=self._ended)
            for entry in entries:
                self._fresh.append(plain(entry.data))
        except KnarrError as error:
            self._fresh.append(human.visible(str(error)))

    def _show(self) -> None:
        lines = [self._fresh.popleft() for _ in range(len(self._fresh))]
        if lines:
            self._shown.write_lines(lines)

    def action_leave(self) -> None:
        """Go back to the table."""
        self.dismiss(None)

    def action_top(self) -> None:
        """Go to the first line and stay there."""
        self._shown.auto_scroll = False
        self._shown.scroll_home(animate=False)

    def action_bottom(self) -> None:
        """Go to the last line and on with what comes."""
        self._shown.auto_scroll = True
        self._shown.scroll_end(animate=False)


def plain(data: bytes) -> str:
    """Return a line as text without colours, and with ``?`` for what is no letter; cut if long."""
    data = data[:_WIDEST]
    text = _SEQUENCES.sub("", data.decode("utf-8", "replace").rstrip("\r\n"))
    return human.visible(text.rpartition("\r")[2].expandtabs())
