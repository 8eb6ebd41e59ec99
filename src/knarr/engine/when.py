"""Times as Docker writes them: RFC 3339 with nanoseconds, in UTC."""

from __future__ import annotations

import time

ZERO = "0001-01-01T00:00:00Z"
_BILLION = 1_000_000_000


def rfc3339(ns: int) -> str:
    """Return the moment ``ns`` nanoseconds after the epoch; 0 is Docker's zero time."""
    if not ns:
        return ZERO
    seconds, fraction = divmod(ns, _BILLION)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def rfc3339_fixed(ns: int) -> str:
    """Return the moment with all nine digits, as ``logs --timestamps`` writes it."""
    seconds, fraction = divmod(ns, _BILLION)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09d}Z"
