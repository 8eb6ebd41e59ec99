"""Waiting for what others do in their own time, where there is no event to wait for."""

from __future__ import annotations

import time
from collections.abc import Callable

# Seconds: a fresh interpreter with the engine in it needs ten on an emulated processor, more on
# one that others use too.
PATIENCE = 100.0


def wait_until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Return as soon as ``condition`` holds; fail when it does not in time."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"{condition} did not come true"
        time.sleep(0.003)
