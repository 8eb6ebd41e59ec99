"""Which containers the full-screen table shows, in which order, and how."""

from __future__ import annotations

import pytest

from knarr.cli.dashboard.lines import SORTS, Facts, Line, Lines, Sort, spark
from knarr.engine.stats import Stats


def stats(name: str, **figures: object) -> Stats:
    chosen = {"running": True, **figures}
    return Stats(f"{name}-id", name, 1, **chosen)  # type: ignore[arg-type]


def lines(*found: Stats, **facts: Facts) -> Lines:
    made = Lines()
    known = {one.id: facts.get(one.name, Facts("busybox", "running", "")) for one in found}
    made.take(found, known)
    return made


def names(shown: Lines) -> list[str]:
    return [line.stats.name for line in shown.chosen()]


@pytest.mark.parametrize(
    ("values", "width", "least", "bars"),
    [
        ([], 3, 0, "   "),
        ([0, 0], 3, 0, "   "),
        ([0, 100], 3, 100, "  █"),
        ([1, 50, 100], 3, 0, "▁▄█"),
        ([1, 2, 3, 4, 8], 4, 0, "▂▃▄█"),
        ([50], 1, 100, "▄"),
        ([0.001], 1, 100, "▁"),
        ([200, 100], 2, 100, "█▄"),
    ],
)
def test_bars(values: list[float], width: int, least: float, bars: str) -> None:
    assert spark(values, width, least) == bars


def test_the_past_of_a_container_is_kept_while_it_is_there() -> None:
    shown = lines(stats("a", cpu_percent=10.0))
    facts = {"a-id": Facts("busybox", "paused", "")}
    shown.take([stats("a", cpu_percent=None, memory=None)], facts)
    (line,) = shown.chosen()
    assert (list(line.cpu), line.facts.status) == ([10.0, 0.0], "paused")
    shown.take([], {})
    assert names(shown) == []


def test_orders() -> None:
    found = (
        stats("a", cpu_percent=5.0, memory=1, network_received=5, network_sent=5, pids=1),
        stats("b", cpu_percent=50.0, memory=3, network_received=0, network_sent=1, pids=None),
        stats("c", cpu_percent=None, memory=2, block_read=1, block_written=9, pids=7),
        stats("d", cpu_percent=5.0, memory=None),
    )
    shown = lines(*found, a=Facts("x", "exited", ""), b=Facts("z", "created", ""))
    orders = []
    for _ in SORTS:
        orders.append((shown.sort.column, "".join(names(shown))))
        shown.next_sort()
    assert orders == [
        ("cpu", "badc"), ("memory", "bcad"), ("name", "abcd"), ("state", "bacd"),
        ("network", "abcd"), ("block", "cabd"), ("pids", "cabd"), ("image", "cdab"),
    ]  # fmt: skip
    assert shown.sort == SORTS[0]
    shown.sort_by("name")
    assert (shown.sort, names(shown)) == (Sort("name", False), ["a", "b", "c", "d"])
    shown.sort_by("name")
    assert names(shown) == ["d", "c", "b", "a"]
    shown.sort_by("cpu_line")
    assert shown.sort == Sort("name", True)


def test_filters() -> None:
    found = (stats("web"), stats("db"), stats("old", running=False))
    shown = lines(*found, web=Facts("nginx", "running", "unhealthy"))
    for word, wanted in (
        ("", "db old web"), ("WEB", "web"), ("ngin", "web"), ("unhea", "web"), ("db-id", "db"),
        ("b-id", ""),
    ):  # fmt: skip
        shown.filter = word
        assert sorted(names(shown)) == wanted.split(), word
    shown.filter, shown.stopped = "", False
    assert sorted(names(shown)) == ["db", "web"]


def test_a_summary() -> None:
    shown = lines(stats("a", cpu_percent=60.4, memory=1024), stats("b", running=False))
    assert shown.summary() == "2 containers, 1 running   CPU 60%   memory 1KiB"
    shown.filter = "x\033y"
    assert shown.summary().endswith("filter: x?y")


def test_cells_of_a_hostile_container() -> None:
    line = Line(stats("a", memory=None), Facts("ev\033[2Jil" + "x" * 40, "running", "healthy"))
    cells = line.cells(2)
    assert cells["image"].startswith("ev?[2Jil")
    assert len(cells["image"]) == 28
    assert (cells["state"], cells["memory"], cells["memory_share"]) == (
        "running healthy",
        "--",
        "--",
    )


def test_a_log_line_is_cut_and_moves_no_cursor() -> None:
    screens = pytest.importorskip("knarr.cli.dashboard.screens")  # textual may not be there
    assert screens.plain(b"x" * 10**6 + b"\n") == "x" * 8192
    assert screens.plain(b"a\x1b[31mb\x1b[0m\x1b]0;title\x07c\xc2\x9b2J\td\r\n") == "abc?2J  d"
