"""The table of containers as a textual app."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Input, Static

from knarr import errors
from knarr.cli import human
from knarr.cli.dashboard.driver import end_by_signals
from knarr.cli.dashboard.lines import Facts, Line, Lines
from knarr.cli.dashboard.screens import Output, Question
from knarr.engine.stats import INTERVAL

if TYPE_CHECKING:
    from textual.driver import Driver
    from textual.widgets.data_table import ColumnKey

    from knarr.engine.container import Container
    from knarr.engine.stats import Board, Stats


_WIDTH = 12  # characters of a line that shows the past
_COLUMNS = {
    "name": "NAME", "state": "STATE", "cpu": "CPU %", "cpu_line": "", "memory": "MEMORY",
    "memory_share": "MEM %", "memory_line": "", "network": "NET I/O", "block": "BLOCK I/O",
    "pids": "PIDS", "image": "IMAGE",
}  # fmt: skip
_TO_THE_RIGHT = {"cpu", "memory", "memory_share", "pids"}
_STYLES = {
    "running": "green", "paused": "yellow", "restarting": "yellow", "exited": "bright_black",
    "created": "bright_black", "healthy": "green", "unhealthy": "bold red", "starting": "yellow",
}  # fmt: skip
_LINES = {"cpu_line": "cyan", "memory_line": "magenta"}

Reading = tuple[list["Stats"], dict[str, Facts]]


class Dashboard(App[None]):
    """All containers of an engine; ``shell`` runs one inside a container, on this terminal.

    ended: the signal that ended it, if one did. failed: what nobody foresaw, if that did.
    """

    TITLE = "knarr"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #summary { background: $primary; color: $text; padding: 0 1; height: 1; }
    #filter { display: none; height: 3; }
    DataTable { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "stop", "Stop"),
        Binding("r", "restart", "Restart"),
        Binding("p", "pause", "Pause"),
        Binding("d", "remove", "Remove"),
        Binding("l,enter", "logs", "Logs", key_display="l"),
        Binding("e", "shell", "Shell"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("o", "order", "Order"),
        Binding("i", "invert", "Invert"),
        Binding("a", "stopped", "All/running"),
        Binding("q", "quit", "Quit"),
        Binding("escape", "no_filter", show=False),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("ctrl+z", "background", show=False, priority=True),
    ]

    def __init__(
        self,
        board: Board,
        shell: Callable[[Container], None],
        driver_class: type[Driver] | None = None,
    ) -> None:
        super().__init__(driver_class=driver_class)
        self._board, self._shell = board, shell
        self.lines = Lines()
        self.ended: list[int] = []
        self.failed: Exception | None = None
        self._summary = Static(id="summary", markup=False)
        self._table: DataTable[Text] = DataTable(cursor_type="row", zebra_stripes=True)
        self._filter = Input(placeholder="name, image, state or id", id="filter")
        self._columns: dict[str, ColumnKey] = {}
        self._reading = False

    def compose(self) -> ComposeResult:
        """Show a line on all, the table, the filter when it is typed, and the keys."""
        yield self._summary
        yield self._table
        yield self._filter
        yield Footer()

    async def on_mount(self) -> None:
        """Begin to read."""
        if not self.is_headless:
            end_by_signals(self, self.ended)
        for name in _COLUMNS:
            width = _WIDTH if name in _LINES else None
            self._columns[name] = self._table.add_column(self._title(name), key=name, width=width)
        self._table.focus()
        self.set_interval(INTERVAL, self.read_soon)
        self.read_soon()

    def read_soon(self) -> None:
        """Read what containers use, unless that is being done."""
        if not self._reading:
            self._reading = True
            self.run_worker(self._read(), group="reading")

    async def _read(self) -> None:
        try:
            found, facts = await asyncio.to_thread(_look, self._board)
            self.lines.take(found, facts)
            self.show()
        except errors.KnarrError as error:
            self._say(str(error), wrong=True)
        except Exception as error:  # a defect, or a disk that fails: told when the table is gone
            self._fail(error)
        finally:
            self._reading = False

    def _fail(self, error: Exception) -> None:
        self.failed = error
        self.exit(return_code=1)

    def show(self, *, ordered: bool = False) -> None:
        """Write the table anew; the cursor stays on its container. ordered: in another way."""
        self._summary.update(self.lines.summary())
        shown = self.lines.chosen()
        table = self._table
        wanted = [line.stats.id for line in shown]
        if ordered or [row.value for row in table.rows] != wanted:
            self._titles()
            self._rearrange(shown)
            return
        for line in shown:
            for name, cell in _cells(line).items():
                if table.get_cell(line.stats.id, name) != cell:
                    table.update_cell(line.stats.id, name, cell, update_width=True)

    def _rearrange(self, shown: list[Line]) -> None:
        table, selected = self._table, self._selected()
        place, before = table.cursor_row, table.scroll_offset
        table.clear()
        for line in shown:
            table.add_row(*_cells(line).values(), key=line.stats.id)
        if selected is not None and selected in table.rows:
            place = table.get_row_index(selected)
        if shown:
            table.move_cursor(row=min(place, len(shown) - 1), animate=False)
        table.scroll_to(before.x, before.y, animate=False)

    def _titles(self) -> None:
        for name in _COLUMNS:
            self._table.columns[self._columns[name]].label = self._title(name)

    def _title(self, name: str) -> Text:
        """Return a heading with room for the mark that one of them has."""
        column, descending = self.lines.sort
        mark = " ▲▼"[1 + descending if name == column else 0]
        return Text(f"{_COLUMNS[name]} {mark}")

    def _selected(self) -> str | None:
        """Return the id of the container under the cursor."""
        table = self._table
        if not table.is_valid_row_index(table.cursor_row):
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    def _chosen(self) -> tuple[Container, str] | None:
        """Return the container under the cursor and its name; None when there is none."""
        if (selected := self._selected()) is None:
            return None
        try:
            container = self._board.container(selected)
        except errors.KnarrError as error:
            self._say(str(error), wrong=True)  # removed just now
            return None
        return container, container.name

    def _say(self, text: str, *, wrong: bool = False) -> None:
        text = human.visible(text)
        self.notify(text, severity="error" if wrong else "information", markup=False)

    def _act(self, act: Callable[[Container], None], doing: str, done: str) -> None:
        """Do something with the container under the cursor, and say how it went."""
        if (chosen := self._chosen()) is not None:
            self.run_worker(self._acting(*chosen, act, doing, done), group="acting")

    async def _acting(
        self, container: Container, name: str, act: Callable[[Container], None], doing: str,
        done: str,
    ) -> None:  # fmt: skip
        self._say(f"{doing} {name}")
        try:
            await asyncio.to_thread(act, container)
        except errors.KnarrError as error:
            self._say(str(error), wrong=True)
        except Exception as error:  # as above
            self._fail(error)
        else:
            self._say(f"{done} {name}")
        self.read_soon()

    def action_stop(self) -> None:
        """Stop the container."""
        self._act(lambda container: container.stop(), "Stopping", "Stopped")

    def action_restart(self) -> None:
        """Stop it, if it runs, and start it."""
        self._act(lambda container: container.restart(), "Restarting", "Restarted")

    def action_pause(self) -> None:
        """Have it stand still, or go on."""
        chosen = self._chosen()
        if chosen is not None and chosen[0].state.paused:
            self._act(lambda container: container.unpause(), "Unpausing", "Unpaused")
        else:
            self._act(lambda container: container.pause(), "Pausing", "Paused")

    def action_remove(self) -> None:
        """Remove it, after asking."""
        if (chosen := self._chosen()) is None:
            return
        container, name = chosen
        running = container.state.running
        text = f"Remove container {human.visible(name)}{', which runs and is killed' * running}?"

        def answered(yes: bool | None) -> None:
            if yes:
                self.run_worker(
                    self._acting(container, name, lambda one: one.remove(force=running),
                                 "Removing", "Removed"), group="acting",
                )  # fmt: skip

        self.push_screen(Question(text), answered)

    def action_logs(self) -> None:
        """Show what it has written."""
        if (chosen := self._chosen()) is not None:
            self.push_screen(Output(*chosen))

    def on_data_table_row_selected(self) -> None:
        """Show the logs on Enter, which the table takes for itself."""
        self.action_logs()

    def action_shell(self) -> None:
        """Give the terminal to a shell in the container."""
        if (chosen := self._chosen()) is None:
            return
        failed: Exception | None = None
        with self.suspend():
            try:
                self._shell(chosen[0])
            except Exception as error:
                failed = error  # of any kind: the terminal has to be taken again first
        if not self.is_headless:
            end_by_signals(self, self.ended)
        if isinstance(failed, errors.KnarrError):
            self._say(str(failed), wrong=True)
        elif failed is not None:
            self._fail(failed)

    def action_filter(self) -> None:
        """Ask for a word that what is shown has."""
        self._filter.display = True
        self._filter.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what has the word typed so far."""
        self.lines.filter = event.value
        self.show()

    def on_input_submitted(self) -> None:
        """Keep the filter and go back to the table."""
        self._filter.display = False
        self._table.focus()

    def action_no_filter(self) -> None:
        """Show all again."""
        self._filter.value = ""
        self.on_input_submitted()

    def action_order(self) -> None:
        """Order by the next column."""
        self.lines.next_sort()
        self.show(ordered=True)

    def action_invert(self) -> None:
        """Order the other way round."""
        self.lines.sort = self.lines.sort._replace(descending=not self.lines.sort.descending)
        self.show(ordered=True)

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """Order by a column that was clicked."""
        if event.column_key.value is not None:
            self.lines.sort_by(event.column_key.value)
            self.show(ordered=True)

    def action_stopped(self) -> None:
        """Show those that do not run, or leave them out."""
        self.lines.stopped = not self.lines.stopped
        self.show()

    def action_background(self) -> None:
        """Stop as the shell's job control does, until ``fg``."""
        signal.raise_signal(signal.SIGTSTP)


def _cells(line: Line) -> dict[str, Text]:
    """Return what is shown of a container, each word as it is and no markup."""
    found = {}
    for name, text in line.cells(_WIDTH).items():
        cell = Text(text, style=_LINES.get(name, ""), no_wrap=True)
        if name in _TO_THE_RIGHT:
            cell.justify = "right"
        if name == "state":
            for word, style in _STYLES.items():
                cell.highlight_regex(rf"\b{word}\b", style)
        found[name] = cell
    return found


def _look(board: Board) -> Reading:
    """Return what containers use, and what is known of each of them."""
    found = board.read()
    facts = {}
    for stats in found:
        container = board.containers[stats.id]
        state = container.state
        facts[stats.id] = Facts(container.image, state.status, state.health)
    return found, facts
