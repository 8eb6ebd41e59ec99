"""What the table shows: a line for each container, chosen, in order, with what went before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from knarr.cli import human

if TYPE_CHECKING:
    from knarr.engine.stats import Stats

HISTORY = 60  # readings that are kept of each container
_BARS = " ▁▂▃▄▅▆▇█"
_UNKNOWN = "--"


class Facts(NamedTuple):
    """What is known of a container beside its figures, in the words of ``ps``."""

    image: str
    status: str
    health: str


class Sort(NamedTuple):
    """A column, and whether its greatest value comes first."""

    column: str
    descending: bool


# In the order in which the key for it goes through them.
SORTS = (
    Sort("cpu", True), Sort("memory", True), Sort("name", False), Sort("state", False),
    Sort("network", True), Sort("block", True), Sort("pids", True), Sort("image", False),
)  # fmt: skip


@dataclass(slots=True)
class Line:
    """One container: figures, facts, and its use of processors (%) and memory (bytes) so far."""

    stats: Stats
    facts: Facts
    cpu: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    memory: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def sort_key(self, column: str) -> tuple[float, str]:
        """Return by what it is ordered: a number or a word, then its name."""
        stats, facts = self.stats, self.facts
        words = {"name": stats.name, "state": facts.status, "image": facts.image}
        if column in words:
            return 0.0, f"{words[column]}\0{stats.name}"
        numbers: dict[str, Sequence[float | None]] = {
            "cpu": (stats.cpu_percent,),
            "memory": (stats.memory,),
            "network": (stats.network_received, stats.network_sent),
            "block": (stats.block_read, stats.block_written),
            "pids": (stats.pids,),
        }
        return sum(value or 0 for value in numbers[column]), stats.name

    def cells(self, width: int) -> dict[str, str]:
        """Return what each column shows; width: characters of a line that shows the past."""
        stats = self.stats
        return {
            "name": human.visible(stats.name),
            "state": " ".join(filter(None, (self.facts.status, self.facts.health))),
            "cpu": _percent(stats.cpu_percent),
            "cpu_line": spark(self.cpu, width, least=100),
            "memory": _UNKNOWN if stats.memory is None else human.binary_size(stats.memory),
            "memory_share": _percent(stats.memory_percent),
            "memory_line": spark(self.memory, width),
            "network": _pair(stats.network_received, stats.network_sent),
            "block": _pair(stats.block_read, stats.block_written),
            "pids": _UNKNOWN if stats.pids is None else str(stats.pids),
            "image": human.ellipsis(human.visible(self.facts.image), 28),
        }


def spark(values: Iterable[float], width: int, least: float = 0.0) -> str:
    """Return the last values as bars, the newest at the right.

    The highest is as high as the greatest of them, or as ``least`` if that is more.
    """
    last = list(values)[-width:]
    top = max([*last, least])
    steps = len(_BARS) - 1
    # What is more than nothing is seen.
    heights = [-int(-value * steps // top) if top else 0 for value in last]
    return "".join(_BARS[min(height, steps)] for height in heights).rjust(width)


def _percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.1f}%"


def _pair(one: int | None, other: int | None) -> str:
    return " / ".join(_UNKNOWN if value is None else human.size(value) for value in (one, other))


class Lines:
    """All containers; which of them are shown, and how they are ordered, can be changed."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self.filter = ""
        self.stopped = True  # whether those that do not run are shown
        self.sort = SORTS[0]

    def take(self, found: Sequence[Stats], facts: Mapping[str, Facts]) -> None:
        """Replace what is known by the newest; what is not in it any more is forgotten."""
        before, self._lines = self._lines, {}
        for stats in found:
            line = before.get(stats.id) or Line(stats, facts[stats.id])
            line.stats, line.facts = stats, facts[stats.id]
            line.cpu.append(stats.cpu_percent or 0.0)
            line.memory.append(float(stats.memory or 0))
            self._lines[stats.id] = line

    def chosen(self) -> list[Line]:
        """Return the lines that are shown, in order; numbers that are the same go by name."""
        shown = [line for line in self._lines.values() if self._wanted(line)]
        shown.sort(key=lambda line: line.stats.name)
        column, descending = self.sort
        shown.sort(key=lambda line: line.sort_key(column)[0], reverse=descending)
        if column in ("name", "state", "image"):
            shown.sort(key=lambda line: line.sort_key(column)[1], reverse=descending)
        return shown

    def _wanted(self, line: Line) -> bool:
        stats, facts = line.stats, line.facts
        if not (self.stopped or stats.running):
            return False
        words = (stats.name, facts.image, facts.status, facts.health)
        wanted = self.filter.lower()
        return stats.id.startswith(wanted) or any(wanted in word.lower() for word in words)

    def next_sort(self) -> None:
        """Order by the next column."""
        columns = [sort.column for sort in SORTS]
        self.sort = SORTS[(columns.index(self.sort.column) + 1) % len(SORTS)]

    def sort_by(self, column: str) -> None:
        """Order by a column in its usual direction; the other way round if it is so already."""
        usual = next((sort for sort in SORTS if sort.column == column), None)
        if usual is not None:
            other = Sort(column, not usual.descending)
            self.sort = other if self.sort == usual else usual

    def summary(self) -> str:
        """Return a sentence on all of them together."""
        running = [line.stats for line in self._lines.values() if line.stats.running]
        cpu = sum(stats.cpu_percent or 0.0 for stats in running)
        memory = sum(stats.memory or 0 for stats in running)
        count = len(self._lines)
        text = (
            f"{count} container{'s' * (count != 1)}, {len(running)} running   "
            f"CPU {cpu:.0f}%   memory {human.binary_size(memory)}"
        )
        return f"{text}   filter: {human.visible(self.filter)}" if self.filter else text
