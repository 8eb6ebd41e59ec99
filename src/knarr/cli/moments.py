"""``--since`` and ``--until``: a time stamp, seconds since the epoch, or a time ago."""

from __future__ import annotations

import re
import time
from datetime import datetime

from knarr.cli import values
from knarr.cli.flags import Args
from knarr.errors import InvalidArgument

_EPOCH = re.compile(r"(\d+)(?:\.(\d{1,9}))?", re.ASCII)
_STAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:T(\d\d(?::\d\d(?::\d\d)?)?)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)


def option(args: Args, name: str) -> int | None:
    """Return the moment that a flag names, None without one. Raises InvalidArgument."""
    text = args.text(name)
    if not text:
        return None
    try:
        return moment(text)
    except ValueError as error:
        raise InvalidArgument(f'invalid value for "{name}": {error}') from None


def moment(text: str, now: int | None = None) -> int:
    """Return nanoseconds since the epoch. Raises ValueError.

    Understood: ``1136073845[.000000001]``, ``2006-01-02[T15:04:05[.000000001]][Z|+07:00]``
    (local time without a zone), and durations before ``now`` such as ``10m``.
    """
    epoch = _EPOCH.fullmatch(text)
    if epoch:
        return int(epoch[1]) * 10**9 + int((epoch[2] or "").ljust(9, "0"))
    stamp = _STAMP.fullmatch(text)
    if stamp:
        day, clock, fraction, zone = stamp.groups()
        when = datetime.fromisoformat(f"{day}T{clock or '00'}{zone or ''}")
        seconds = int(when.timestamp())
        return seconds * 10**9 + int((fraction or "").ljust(9, "0"))
    try:
        ago = values.duration(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a time nor a duration") from None
    return (time.time_ns() if now is None else now) - ago
