"""What is known of a container's health, by Docker's rules, and the file in which readers find it.

A container with a check is *starting* until the first check that succeeds (exit code 0) or
the last of so many failures in a row, then *healthy* or *unhealthy*. Failures that begin
in the start period do not count as long as the container has never been healthy. Source:
moby, daemon/health.go. Pure but for the reading.
"""

import json

from knarr.supervisor import state as states

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# In a container's run directory: what its supervisor has found, and what it is to check.
NAME = "health.json"
CHECK = "healthcheck.json"

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
KEPT = 5  # results
OUTPUT_LIMIT = 4096  # bytes of what a check writes; the rest is dropped

_SECOND = 1_000_000_000
# What a time or number that is 0 means (ns).
INTERVAL, TIMEOUT, START_PERIOD, START_INTERVAL = 30 * _SECOND, 30 * _SECOND, 0, 5 * _SECOND
RETRIES = 3

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Rules:
    """When to check and what follows from it. Times are nanoseconds."""

    __slots__ = ("interval", "retries", "start_interval", "start_period", "timeout")

    def __init__(self, wanted: "dict[str, Any]") -> None:
        self.interval = int(wanted.get("interval") or INTERVAL)
        self.timeout = int(wanted.get("timeout") or TIMEOUT)
        self.start_period = int(wanted.get("start_period") or START_PERIOD)
        self.start_interval = int(wanted.get("start_interval") or START_INTERVAL)
        retries = int(wanted.get("retries") or 0)
        self.retries = retries if retries > 0 else RETRIES


class Result:
    """One check. start, end: ns since the epoch. exit_code: -1 where it did not come to an end."""

    __slots__ = ("end", "exit_code", "output", "start")

    def __init__(self, start: int, end: int, exit_code: int, output: str) -> None:
        self.start = start
        self.end = end
        self.exit_code = exit_code
        self.output = output


class Health:
    """What the checks of a container have found. streak: failures in a row. log: oldest first."""

    __slots__ = ("log", "status", "streak")

    def __init__(self, log: "list[dict[str, Any]] | None" = None) -> None:
        self.status = STARTING
        self.streak = 0
        self.log = list(log or ())

    def note(self, result: Result, rules: Rules, started: int) -> bool:
        """Take in a result; return whether the status is another now.

        started: when the container was (ns since the epoch).
        """
        before = self.status
        entry = {name: getattr(result, name) for name in ("start", "end", "exit_code", "output")}
        self.log = [*self.log, entry][-KEPT:]
        if result.exit_code == 0:
            self.streak, self.status = 0, HEALTHY
        elif before != STARTING or result.start - started >= rules.start_period:
            self.streak += 1
            if self.streak >= rules.retries:
                self.status = UNHEALTHY
        return self.status != before

    def interval(self, rules: Rules, age: int) -> int:
        """Return the time until the next check (ns). age: of the container, in ns."""
        early = age < rules.start_period and self.status == STARTING
        return rules.start_interval if early else rules.interval

    def stop(self) -> None:
        """Take note that nothing is checked any more; that counts as unhealthy."""
        self.status = UNHEALTHY

    def encode(self) -> bytes:
        """Return it as it stands in its file."""
        return _encode({
            "status": self.status, "failing_streak": self.streak, "log": self.log,
        }).encode()  # fmt: skip


def encode_check(wanted: "dict[str, Any]") -> bytes:
    """Return the file ``CHECK`` of a run directory for these settings.

    It begins with the time until the first check and the usual one (ns), on a line that a
    supervisor reads without parsing the rest.
    """
    rules = Rules(wanted)
    return b"%d %d\n" % (Health().interval(rules, 0), rules.interval) + _encode(wanted).encode()


def wanted(run_dir: str) -> "dict[str, Any]":
    """Return what is to be checked, as it was encoded. Raises OSError, ValueError."""
    found: dict[str, Any] = json.loads(states.read_body(run_dir, CHECK).partition(b"\n")[2])
    return found


def read(run_dir: str) -> "Health | None":
    """Return what was found last, None where that is not known. Never waits."""
    try:
        value = states.read(run_dir, NAME)
    except ValueError:
        return None
    if value is None:
        return None
    found = Health(value["log"])
    found.status, found.streak = value["status"], value["failing_streak"]
    return found
