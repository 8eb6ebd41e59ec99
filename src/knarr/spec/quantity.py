"""Sizes, shares and times as people write them: ``256m``, ``0.5`` processors, ``1m30s``."""

from __future__ import annotations

import re

from knarr.errors import InvalidArgument

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgtp]?)(?:i?b)?\Z", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d|w)", re.ASCII)
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 24 * 3600 * 10**9,
    "w": 7 * 24 * 3600 * 10**9,
}


def size(text: str | int) -> int:
    """Return bytes: a number, or one with a unit (b, k, m, g, t, p; powers of 1024).

    Raises InvalidArgument ("invalid size: 'X'").
    """
    match = _SIZE.match(str(text).strip())
    if match is None:
        raise InvalidArgument(f"invalid size: '{text}'")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def cpus(value: float | str) -> int:
    """Return processors in units of 10**-9. Raises InvalidArgument."""
    try:
        number = float(value)
    except ValueError:
        raise InvalidArgument(f"invalid number of CPUs: '{value}'") from None
    if not 0 < number < 1e6:
        raise InvalidArgument(f"invalid number of CPUs: '{value}'")
    return round(number * 1_000_000_000)


def nanoseconds(text: str, *, days: bool = False) -> int | None:
    """Return a time as Go writes it (``1m30s``), None when it is none. days: also ``d``, ``w``."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    if not days and any(unit in ("d", "w") for _, unit in parts):
        return None
    return round(sum(float(number) * _NANOSECONDS[unit] for number, unit in parts))
