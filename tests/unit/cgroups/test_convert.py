import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.cgroups import convert


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(0, 1), (2, 1), (1024, 100), (262144, 10000), (500000, 10000), (512, 59), (2048, 174)],
)
def test_known_weights(shares: int, weight: int) -> None:
    assert convert.shares_to_weight(shares) == pytest.approx(weight, abs=1)


def test_both_defaults_and_both_ends_are_exact() -> None:
    assert [convert.shares_to_weight(one) for one in (2, 1024, 262144)] == [1, 100, 10000]


@given(st.integers(2, 262143))
def test_weight_grows_with_shares_and_stays_in_range(shares: int) -> None:
    weight, following = convert.shares_to_weight(shares), convert.shares_to_weight(shares + 1)
    assert 1 <= weight <= following <= 10000


@pytest.mark.parametrize(
    ("memory", "swap", "expected"),
    [
        (None, None, None),
        (100, None, None),
        (100, 0, None),
        (100, 100, "0"),
        (100, 300, "200"),
        (100, -1, "max"),
        (None, -1, "max"),
        (-1, None, "max"),
        (-1, -1, "max"),
    ],
)
def test_swap(memory: int | None, swap: int | None, expected: str | None) -> None:
    assert convert.swap_limit(memory, swap) == expected


@pytest.mark.parametrize(("memory", "swap"), [(None, 100), (0, 100), (-1, 100), (200, 100)])
def test_swap_that_makes_no_sense(memory: int | None, swap: int) -> None:
    with pytest.raises(ValueError, match=r"memory\.swap"):
        convert.swap_limit(memory, swap)


@pytest.mark.parametrize(("weight", "expected"), [(10, 1), (1000, 10000), (500, 4950)])
def test_blkio_weight(weight: int, expected: int) -> None:
    assert convert.blkio_weight(weight) == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        (None, None, None),
        (0, 0, None),
        (50000, None, "50000"),
        (50000, 100000, "50000 100000"),
        (-1, None, "max"),
        (-1, 20000, "max 20000"),
        (None, 20000, "max 20000"),
    ],
)
def test_cpu_max(quota: int | None, period: int | None, expected: str | None) -> None:
    assert convert.cpu_max(quota, period) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("0", [0]), ("0-2,7", [0, 1, 2, 7]), ("3, 1", [1, 3]), ("1,1-2", [1, 2])]
)
def test_parse_list(text: str, expected: list[int]) -> None:
    assert convert.parse_list(text) == expected


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-1", "1,,2", "0-10:2/4", "70000", "²"])
def test_malformed_list(text: str) -> None:
    with pytest.raises(ValueError):
        convert.parse_list(text)
