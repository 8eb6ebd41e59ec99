"""What a container is doing: its row, its supervisor's state file, merged and put into words."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.engine import host, serial
from knarr.engine.model import ExitStatus, Usage
from knarr.engine.records import REMOVING, ContainerRecord
from knarr.supervisor import healthstate, restart
from knarr.supervisor import state as states
from knarr.supervisor.healthstate import STARTING, UNHEALTHY

if TYPE_CHECKING:
    from knarr.engine.paths import Paths

REBOOT_EXIT = 255  # what Docker reports for a container that a power loss ended
# What Docker reports for a container that could not be started, by reason.
_NOT_FOUND, _NOT_EXECUTABLE, _NOT_STARTED = 127, 126, 128


@dataclass(frozen=True, slots=True)
class ContainerState:
    """The merged state. status: created, running, paused, restarting, exited, removing or dead.

    pid 0 when not running; times in ns since the epoch, 0 when it never happened.
    stale: the state file says running, or that it is started again, but no supervisor lives,
    or it is paused for somebody who is dead (``recover`` settles it). restarts: how often its
    policy had it started. health: starting, healthy or unhealthy, empty for one that is not
    checked; unhealthy while nothing is checked. ports: bindings (``runtime.portmap``) of one
    that runs.
    """

    status: str
    pid: int = 0
    start_time: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    started_at: int = 0
    finished_at: int = 0
    usage: Usage = field(default_factory=Usage)
    stale: bool = False
    restarts: int = 0
    health: str = ""
    ports: tuple[dict[str, Any], ...] = ()

    @property
    def running(self) -> bool:
        """True while the container's first process lives, paused or not."""
        return self.status in ("running", "paused")

    @property
    def paused(self) -> bool:
        """True while its processes are frozen."""
        return self.status == "paused"

    @property
    def restarting(self) -> bool:
        """True while it waits to be started again."""
        return self.status == "restarting"

    def exit_status(self) -> ExitStatus:
        """Return how the container ended last."""
        return ExitStatus(self.exit_code, self.oom_killed, self.error, self.usage)

    def describe(self, now: int | None = None) -> str:
        """Return Docker's words: ``Up 5 seconds``, ``Exited (0) 2 minutes ago``, ``Created``."""
        now = time.time_ns() if now is None else now
        if self.status == "running":
            words = f"health: {self.health}" if self.health == STARTING else self.health
            return f"Up {duration(now - self.started_at)}" + (f" ({words})" if words else "")
        if self.status == "paused":
            return f"Up {duration(now - self.started_at)} (Paused)"
        if self.status == "restarting":
            return f"Restarting ({self.exit_code}) {duration(now - self.finished_at)} ago"
        if self.status == "exited":
            return f"Exited ({self.exit_code}) {duration(now - self.finished_at)} ago"
        return {"created": "Created", "removing": "Removal In Progress"}.get(self.status, "Dead")


def read_state_file(path: str) -> dict[str, Any] | None:
    """Return the supervisor's state file, or None when there is none (yet, or any more)."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    value = json.loads(data)
    return value if isinstance(value, dict) else None


def merged(record: ContainerRecord, paths: Paths) -> ContainerState:
    """Return the state of a container as far as files tell; nothing is changed."""
    if record.state == REMOVING:
        return ContainerState("removing")
    live = read_state_file(paths.state)
    if live is not None:
        if live["status"] != "running":
            return _after_its_end(live, paths)
        if live.get("boot_id") != host.boot_id():
            return _ended_by_reboot(int(live.get("started_at") or 0))
        if paths.supervisor_lives():
            return _of_running(live, paths)
        live = read_state_file(paths.state) or live  # it may have ended in between
        if live["status"] != "running":
            return _after_its_end(live, paths)
        return replace(_of_running(live, paths), stale=True)
    ended = read_state_file(paths.exit)
    if ended is not None:
        return _after_its_end(ended, paths)
    ended = read_state_file(paths.exit_before)
    if ended is not None:  # it is just being started again: until it runs it is as before
        return _after_its_end(ended, paths)
    if record.started is None:
        return ContainerState("created")
    if record.boot_id != host.boot_id():
        return _ended_by_reboot(record.started)
    if os.path.exists(paths.state) or os.path.exists(paths.exit):
        return merged(record, paths)  # that was done since, or has failed
    return ContainerState("created")


def _of_running(live: dict[str, Any], paths: Paths) -> ContainerState:
    """Return the state of a container that runs: paused or not, and how well."""
    state = from_live(live)
    pause = paused(paths)
    if pause is not None:
        return replace(state, status="paused", stale=pause)
    if not state.health:
        return state
    found = healthstate.read(paths.run)
    return replace(state, health=STARTING if found is None else found.status)


def paused(paths: Paths) -> bool | None:
    """Return None for a container that is not paused, else whether nobody will let it go on.

    That is so when who paused it for as long as a copy takes has died.
    """
    try:
        handle = os.open(paths.paused, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if not os.fstat(handle).st_size:
            return False
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def _after_its_end(live: dict[str, Any], paths: Paths) -> ContainerState:
    """Return the state of a container that has ended: exited, or about to be started again.

    Its supervisor sleeps until then, and becomes, under the same pid, what starts it. Another
    that has the lock is the successor of one that was killed: it finds nothing to do.
    """
    state = from_live(live)
    if not is_due(live, paths):
        return state
    pid = int(live.get("supervisor_pid") or 0)
    sleeps = paths.supervisor_lives() and states.start_time(pid) is not None
    awake = sleeps or _lives(pid, paths)
    return replace(state, status="restarting", stale=not awake)


def refuse_restarting(state: ContainerState, container_id: str) -> None:
    """Raise Conflict, in Docker's words, for a container that waits to be started again."""
    if state.restarting:
        raise errors.Conflict(
            f"Container {container_id} is restarting, wait until the container is running"
        )


def is_due(live: dict[str, Any] | None, paths: Paths) -> bool:
    """Return whether a container is to be started again, by its record and its policy as it is.

    False for one that was stopped since, or has another policy.
    """
    if live is None or not awaits_start(live):
        return False
    wanted = restart.rules(paths.exit)
    count = int(live["restart"].get("count") or 0)
    return wanted is not None and restart.allowed(
        wanted, int(live.get("exit_code") or 0), count - 1
    )


def awaits_start(live: dict[str, Any] | None) -> bool:
    """Return whether a state file says that the container is to be started again.

    Whether somebody has stopped it since stands elsewhere.
    """
    if live is None or live["status"] == "running" or live.get("boot_id") != host.boot_id():
        return False
    return (live.get("restart") or {}).get("at") is not None


def _lives(pid: int, paths: Paths) -> bool:
    """Return whether that process is the one that starts this container again."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")[-2:-1] == [paths.id.encode()]
    except OSError:
        return False


def note_failed_start(record: ContainerRecord, paths: Paths, error: Exception) -> None:
    """Keep why the last start failed where the exit status is kept; the status stays as it is.

    A start that works takes it away, as it does with an exit. On a full disk it is not kept:
    the caller hears of the start itself.
    """
    state = merged(record, paths)
    before = read_state_file(paths.exit) or {}
    if "restart" in before:
        before["restart"] = {**before["restart"], "at": None}  # it is not due any more
    note = {
        **before,
        "status": "exited" if state.restarting else state.status,
        "exit_code": _code_of(error),
        "error": str(error).removeprefix(f"container {record.name}: "),
        "oom_killed": False,
        "started_at": state.started_at,
        "finished_at": state.finished_at,
    }
    with contextlib.suppress(OSError):
        states.write(paths.data, note, os.path.basename(paths.exit))


def _code_of(error: Exception) -> int:
    if isinstance(error, errors.CommandNotFound):
        return _NOT_FOUND
    return _NOT_EXECUTABLE if isinstance(error, errors.NotExecutable) else _NOT_STARTED


def _ended_by_reboot(started: int) -> ContainerState:
    """The state of a container that ran when the machine went down: nobody saw it end."""
    return ContainerState("exited", exit_code=REBOOT_EXIT, started_at=started, finished_at=started)


def from_live(value: dict[str, Any]) -> ContainerState:
    """Return the state that a supervisor's state file describes."""
    running = value["status"] == "running"
    return ContainerState(
        status=value["status"],
        pid=int(value.get("pid") or 0) if running else 0,
        start_time=int(value.get("start_time") or 0),
        exit_code=int(value.get("exit_code") or 0),
        oom_killed=bool(value.get("oom_killed")),
        error=str(value.get("error") or ""),
        started_at=int(value.get("started_at") or 0),
        finished_at=int(value.get("finished_at") or 0),
        usage=serial.usage(value.get("usage")),
        restarts=int((value.get("restart") or {}).get("count") or 0),
        health=UNHEALTHY if value.get("health") else "",
        ports=tuple(value["ports"]["bindings"]) if running and "ports" in value else (),
    )


def duration(ns: int) -> str:
    """Return a span of time in Docker's rough words (``3 minutes``, ``About an hour``)."""
    seconds = max(ns, 0) // 1_000_000_000
    hours = (seconds + 1800) // 3600
    if seconds < 2:
        return "1 second" if seconds else "Less than a second"
    if seconds < 60:
        return f"{seconds} seconds"
    if seconds < 3600:
        return "About a minute" if seconds < 120 else f"{seconds // 60} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for days, unit, length in ((14, "days", 1), (60, "weeks", 7), (730, "months", 30)):
        if hours < days * 24:
            return f"{hours // 24 // length} {unit}"
    return f"{seconds // 3600 // 24 // 365} years"
