"""How stats shows what it is given: Docker's words and units."""

from __future__ import annotations

import pytest

from knarr.cli import human
from knarr.cli.commands import stats
from knarr.engine.stats import Stats

ID = "0123456789ab" + "c" * 52


def test_a_row() -> None:
    found = Stats(
        ID, "web", 1, True, 101.234, 5, 2 << 20, 512 << 20, 1_234_567, 999, 0, 20_000_000, 7
    )
    assert stats._row("w", found, cut=True) == {
        "Container": "w",
        "ID": "0123456789ab",
        "Name": "web",
        "CPUPerc": "101.23%",
        "MemUsage": "2MiB / 512MiB",
        "MemPerc": "0.39%",
        "NetIO": "1.23MB / 999B",
        "BlockIO": "0B / 20MB",
        "PIDs": "7",
    }


def test_one_that_does_not_run() -> None:
    row = stats._row("w", Stats(ID, "web", 1), cut=False)
    assert row["ID"] == ID
    assert list(row.values())[3:] == ["0.00%", "0B / 0B", "0.00%", "0B / 0B", "0B / 0B", "0"]


def test_one_of_which_nothing_is_known() -> None:
    nothing = Stats(ID, "web", 1, False, *(None,) * 9, gone=True)
    row = stats._row("w", nothing, cut=False)
    assert list(row.values())[3:] == ["--", "-- / --", "--", "--", "--", "--"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"), (1023, "1023B"), (1024, "1KiB"), (2050048, "1.955MiB"),
        (33 << 30, "33GiB"), (1047527424, "999MiB"), (1072693248, "1023MiB"),
    ],
)  # fmt: skip
def test_sizes_of_memory(count: int, text: str) -> None:
    assert human.binary_size(count) == text


def test_a_frame_over_another() -> None:
    assert stats.over("a\nb\n") == "\033[Ha\033[K\nb\033[K\n\033[J"
