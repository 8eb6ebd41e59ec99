"""Times as images have them: RFC 3339 with up to nine decimals, and none at all."""

from __future__ import annotations

import datetime as dt
import os
import re

from knarr.errors import InvalidArgument
from knarr.spec import quantity

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def parse(text: str) -> dt.datetime | None:
    """Return the RFC 3339 time as an aware datetime, or None when it is none."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    zone = "+00:00" if match[4] in "Zz" else match[4]
    try:
        return dt.datetime.fromisoformat(f"{match[1]}T{match[2]}{match[3] or ''}{zone}")
    except ValueError:
        return None


def render(moment: float) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC, whole seconds."""
    whole = dt.datetime.fromtimestamp(int(moment), dt.UTC)
    return whole.strftime("%Y-%m-%dT%H:%M:%SZ")


def source_date_epoch() -> int | None:
    """Return the moment that SOURCE_DATE_EPOCH sets for all that is made, or None without it.

    Seconds since 1970. Raises InvalidArgument when it is not a number of seconds.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 11:
        raise InvalidArgument(f"SOURCE_DATE_EPOCH {given!r} is not a number of seconds")
    return int(given)


def now() -> str:
    """Return the present time as RFC 3339, or SOURCE_DATE_EPOCH (InvalidArgument) if it is set."""
    given = source_date_epoch()
    if given is not None:
        return render(given)
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def until(text: str, present: dt.datetime | None = None) -> dt.datetime:
    """Return the moment a filter ``until=`` names: a time, seconds since the epoch, or an age.

    Ages are Go durations with days and weeks (``24h``, ``1h30m``, ``7d``). A time
    without a zone is local. Raises InvalidArgument.
    """
    present = present or dt.datetime.now(dt.UTC)
    if text.isascii() and re.fullmatch(r"\d{1,11}(\.\d{1,9})?", text):
        return dt.datetime.fromtimestamp(float(text), dt.UTC)
    seconds = _seconds(text)
    if seconds is not None:
        try:
            return present - dt.timedelta(seconds=seconds)
        except OverflowError:
            return dt.datetime.min.replace(tzinfo=dt.UTC)
    moment = parse(text)
    if moment is not None:
        return moment
    try:
        return dt.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise InvalidArgument(f"invalid time {text!r}: give a date, seconds or an age") from None


def age(text: str) -> float:
    """Return the seconds of an age: a Go duration with days and weeks (``36h``, ``7d``, ``2w``).

    Raises InvalidArgument.
    """
    seconds = _seconds(text)
    if seconds is None:
        raise InvalidArgument(f"invalid age {text!r}: use such as 36h, 7d or 2w")
    return seconds


def _seconds(text: str) -> float | None:
    found = quantity.nanoseconds(text, days=True)
    return None if found is None else found / 1e9
