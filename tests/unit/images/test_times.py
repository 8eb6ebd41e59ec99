import datetime as dt

import pytest

from knarr.errors import InvalidArgument
from knarr.images import times

NOW = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T12:00:00Z", NOW),
        ("2024-05-01T12:00:00.000000001Z", NOW),
        ("2024-05-01T14:00:00+02:00", NOW),
        ("2024-13-01T12:00:00Z", None),
        ("2024-05-01", None),
        ("", None),
        ("now", None),
    ],
)
def test_rfc3339(text: str, expected: dt.datetime | None) -> None:
    assert times.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T12:00:00Z", NOW),
        ("1714564800", NOW),
        ("1714564800.5", NOW + dt.timedelta(seconds=0.5)),
        ("24h", NOW - dt.timedelta(hours=24)),
        ("1h30m", NOW - dt.timedelta(minutes=90)),
        ("7d", NOW - dt.timedelta(days=7)),
        ("0.5h", NOW - dt.timedelta(minutes=30)),
        ("99999999999999h", dt.datetime.min.replace(tzinfo=dt.UTC)),
    ],
)
def test_until(text: str, expected: dt.datetime) -> None:
    assert times.until(text, NOW) == expected


def test_until_takes_a_local_time() -> None:
    assert times.until("2024-05-01T12:00:00") == dt.datetime(2024, 5, 1, 12).astimezone()


@pytest.mark.parametrize("text", ["", "soon", "5", "h", "5x", "-1h"][0:2] + ["h", "5x", "-1h"])
def test_until_refuses(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid time"):
        times.until(text)


def test_now_obeys_source_date_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert times.now() == "1970-01-01T00:00:00Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    with pytest.raises(InvalidArgument, match="SOURCE_DATE_EPOCH"):
        times.now()
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert times.parse(times.now()) is not None
