"""How long and how often a server is asked before it counts as gone."""

from __future__ import annotations

import email.utils
import random
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """Times in seconds. attempts: of one request that fails for reasons that may pass.

    stall: without one byte a connection is given up. total: for a document, from request to
    end. first, most: pauses between attempts, doubled from the one up to the other.
    """

    attempts: int = 5
    connect: float = 15.0
    stall: float = 60.0
    total: float = 120.0
    first: float = 0.5
    most: float = 30.0

    def pause(self, attempt: int, retry_after: str | None = None) -> float:
        """Return the seconds to wait before the attempt after number ``attempt`` (from 1).

        What the server wants counts up to ``most``; our own wait is spread by half, so that
        many clients do not come back at once.
        """
        asked = _seconds(retry_after) if retry_after else None
        if asked is not None:
            return min(asked, self.most)
        base = min(self.first * 2.0 ** (attempt - 1), self.most)
        return base * random.uniform(0.5, 1.0)


def _seconds(retry_after: str) -> float | None:
    """Return the seconds that ``Retry-After`` means: a number, or a date (RFC 9110, 10.2.3)."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(0.0, moment.timestamp() - time.time())
