"""Sizes and shares as people write them: ``256m``, ``1.5g``, ``0.5`` processors."""

from __future__ import annotations

import re

from knarr.errors import InvalidArgument

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgtp]?)(?:i?b)?\Z", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


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
