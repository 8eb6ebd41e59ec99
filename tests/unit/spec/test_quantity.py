"""Sizes, processors and times as people write them."""

from __future__ import annotations

import pytest

from knarr.errors import InvalidArgument
from knarr.spec import quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("1024", 1024), ("1b", 1), ("4k", 4096), ("256m", 256 << 20), ("1.5g", 3 << 29),
        ("2 GiB", 2 << 30), ("1KB", 1024), ("1T", 1 << 40), (77, 77),
    ],
)  # fmt: skip
def test_sizes(text: str | int, value: int) -> None:
    assert quantity.size(text) == value


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "1e3", "0x10", "1 2"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid size"):
        quantity.size(text)


def test_processors() -> None:
    assert quantity.cpus("0.5") == 500_000_000
    assert quantity.cpus(2) == 2_000_000_000
    for bad in ("x", "0", -1, "nan", "inf"):
        with pytest.raises(InvalidArgument):
            quantity.cpus(bad)


def test_times() -> None:
    assert quantity.nanoseconds("1m30s") == 90 * 10**9
    assert quantity.nanoseconds("1.5ms") == 1_500_000
    assert quantity.nanoseconds("2d", days=True) == 2 * 86400 * 10**9
    for bad in ("", "5", "2d", "1s ", "-1s", "1x"):
        assert quantity.nanoseconds(bad) is None
