"""``knarr stats``: what containers use, as it changes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.cli import human, listing, terminal
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.stats import Stats

_HEADINGS = {
    "Container": "CONTAINER",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
_COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_LAYOUT = listing.Layout(_HEADINGS, _COLUMNS)
_UNKNOWN = "--"  # Docker's
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\033[H", "\033[K", "\033[J"


def run(context: Context, args: Args) -> int:
    """Print the table once, or again and again."""
    from knarr.engine.stats import INTERVAL, ONCE

    template = args.text("format")
    listing.show((), _LAYOUT, template)  # what is wrong with it is said now
    words = _ids(context.engine, args.rest)
    once, cut = args.on("no-stream"), not args.on("no-trunc")
    in_place = not once and terminal.is_terminal(1)
    with context.engine.containers.stats(list(words.values()), all=args.on("all")) as board:
        for frame in board.frames(ONCE if once else INTERVAL):
            rows = [_row(word, found, cut=cut) for word, found in _chosen(words, frame)]
            text = listing.show(rows, _LAYOUT, template)
            sys.stdout.write(over(text) if in_place else text)
            sys.stdout.flush()
            if once:
                break
    return 0


def _ids(engine: Engine, names: list[str]) -> dict[str, str]:
    """Return the ids of the containers of these names. Raises NotFound, a line for each."""
    found, missing = {}, []
    for name in names:
        try:
            found[name] = engine.containers.get(name).id
        except errors.NotFound as error:
            missing.append(error)
    if not missing:
        return found
    for one in missing[:-1]:
        print(f"Error: {human.visible(str(one))}", file=sys.stderr)
    raise missing[-1]


def _chosen(words: dict[str, str], frame: list[Stats]) -> list[tuple[str, Stats]]:
    """Return what is shown, each with the word it was asked for by: without any its id."""
    if not words:
        return [(found.id, found) for found in frame]
    by_id = {found.id: found for found in frame}
    return [(word, by_id[wanted]) for word, wanted in words.items()]


def _row(word: str, found: Stats, *, cut: bool) -> dict[str, Any]:
    return {
        "Container": word,
        "ID": found.id[:12] if cut else found.id,
        "Name": found.name,
        "CPUPerc": _percent(found.cpu_percent),
        "MemUsage": " / ".join(_each(human.binary_size, found.memory, found.memory_limit)),
        "MemPerc": _percent(found.memory_percent),
        "NetIO": _pair(found.network_received, found.network_sent),
        "BlockIO": _pair(found.block_read, found.block_written),
        "PIDs": _UNKNOWN if found.pids is None else str(found.pids),
    }


def _percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f}%"


def _each(show: Callable[[float], str], *values: int | None) -> list[str]:
    return [_UNKNOWN if value is None else show(value) for value in values]


def _pair(one: int | None, other: int | None) -> str:
    """Return two sizes; one word, as Docker has it, where they are not known."""
    if one is None and other is None:
        return _UNKNOWN
    return " / ".join(_each(human.size, one, other))


def over(text: str) -> str:
    """Return a frame that is written over the one before: no line is empty in between."""
    lines = "".join(f"{line}{_END_OF_LINE}\n" for line in text.splitlines())
    return f"{_HOME}{lines}{_END_OF_SCREEN}"


COMMAND = Command(
    name="stats",
    summary="Display a live stream of what containers use",
    usage=("[OPTIONS] [CONTAINER...]",),
    run=run,
    examples=(
        ("knarr stats", "Show what the running containers use, as it changes"),
        ("knarr stats --no-stream --format json web", "Show it once, for one, as JSON"),
    ),
    flags=(
        Flag("all", SWITCH, "Show all containers, not only running ones", short="a", example="-a"),
        listing.FORMAT,
        Flag("no-stream", SWITCH, "Show it once and end", example="--no-stream"),
        Flag("no-trunc", SWITCH, "Show ids in full", example="--no-trunc"),
    ),
    arguments=(0, MANY),
    spellings=("container stats",),
    details="Without names all running containers are shown, and those that start and end "
    "meanwhile. CPU % is of one processor, over the last second; memory is without the page cache "
    "that lies idle; network and block devices are counted since the start. Fields of a "
    "template: `.Container .Name .ID .CPUPerc .MemUsage .MemPerc .NetIO .BlockIO .PIDs`.",
)
