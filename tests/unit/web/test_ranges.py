from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.web import ranges


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("", None),
        ("bytes=-", None),
        ("lines=0-5", None),
        ("bytes=0-1,5-6", None),
        ("bytes=" + "9" * 30 + "-", None),
        ("bytes=0-0", (0, 1)),
        ("Bytes = 0 - 4", (0, 5)),
        ("bytes=5-", (5, 95)),
        ("bytes=-5", (95, 5)),
        ("bytes=-500", (0, 100)),
        ("bytes=99-1000", (99, 1)),
    ],
)
def test_of_a_hundred_bytes(header: str | None, wanted: tuple[int, int] | None) -> None:
    assert ranges.parse(header, 100) == wanted


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=5-4", "bytes=-0", "bytes=1000-2000"])
def test_none_of_a_hundred_bytes(header: str) -> None:
    with pytest.raises(ranges.NotSatisfiable):
        ranges.parse(header, 100)


@given(st.from_regex(r"\s*bytes\s*=[0-9\-, ]{0,12}", fullmatch=True), st.integers(0, 200))
def test_what_is_given_is_there(header: str, size: int) -> None:
    try:
        found = ranges.parse(header, size)
    except ranges.NotSatisfiable:
        return
    if found is not None:
        offset, count = found
        assert 0 <= offset < offset + count <= size
