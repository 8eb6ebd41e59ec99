"""Restart policies, as a supervisor sees them: whether its container is started again, and when.

What is wanted stands in a file beside the exit record, which the engine writes: policy,
how often, whether somebody has stopped the container, and the command that starts it
again. How often and after what time it was done stands in the state, under ``restart``.
The rules are Docker's: the first time after a tenth of a second, then twice as long each
time up to a minute, from the beginning again after ten seconds of life.
"""

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "restart.json"
_FIRST = 0.1
_LONGEST = 60.0
_LIFE = 10.0
_NS = 1_000_000_000


class Again:
    """A start that is due. seconds: until then. count: which one it is. command: its argv."""

    __slots__ = ("command", "count", "seconds")

    def __init__(self, seconds: float, count: int, command: "list[str]") -> None:
        self.seconds = seconds
        self.count = count
        self.command = command


def rules(exit_file: str) -> "dict[str, Any] | None":
    """Return what is wanted of the container with this exit record; None: nothing."""
    path = f"{os.path.dirname(exit_file)}/{NAME}"
    if not exit_file or not os.access(path, os.F_OK):
        return None
    try:
        with open(path, "rb") as file:
            found: dict[str, Any] = json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return None
    return found


def due(exit_file: str, state: bytes, code: int, now: int) -> "Again | None":
    """Return the start that follows from an end with ``code``, now (ns); None: there is none.

    state: the record of the start that ends, or empty.
    """
    wanted = rules(exit_file)
    if wanted is None or not state:
        return None
    before = json.loads(state)
    done = before.get("restart") or {}
    count = int(done.get("count") or 0)
    if not allowed(wanted, code, count):
        return None
    seconds = float(done.get("seconds") or 0)
    if now - int(before["started_at"]) > _LIFE * _NS:
        seconds = 0.0
    seconds = min(2 * seconds, _LONGEST) if seconds else _FIRST
    return Again(seconds, count + 1, wanted["command"])


def allowed(wanted: "dict[str, Any]", code: int, count: int) -> bool:
    """Return whether a container that ended with ``code`` is started for the next time."""
    if wanted.get("stopped"):
        return False
    if wanted["policy"] == "on-failure":
        retries = int(wanted.get("retries") or 0)
        return code != 0 and (not retries or count < retries)
    return wanted["policy"] in ("always", "unless-stopped")
