"""Health checks: what is wanted of one, what its supervisor is told, what it has found.

``healthcheck.json`` beside the exit record says what is checked and how often; a container
without a check has none. A start adds who the command runs as and puts it into the run directory,
where the supervisor writes ``health.json`` after each check. Readers only read that.
"""

from __future__ import annotations

import json
import logging
import os
import select
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.engine import waiting
from knarr.engine.model import HEALTH_CHECKS, Health, HealthCheck, HealthResult
from knarr.engine.paths import write_synced
from knarr.engine.state import merged, read_state_file
from knarr.kernel import inotify, process
from knarr.supervisor import healthstate
from knarr.supervisor import state as states

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord
    from knarr.engine.state import ContainerState

_log = logging.getLogger("knarr.engine")
_LEAST = 10**6  # ns, of a time that is not the usual one
_SHELL = ("/bin/sh", "-c")
_NAMES = (
    ("interval", "Interval"),
    ("timeout", "Timeout"),
    ("start_period", "StartPeriod"),
    ("start_interval", "StartInterval"),
    ("retries", "Retries"),
)
_encode = json.JSONEncoder(separators=(",", ":")).encode
# What of a container's process is not a further command's.
_FIRST_ONLY = ("consoleSize", "oomScoreAdj")
_COMMON = ("seccomp", "personality")


def wanted(config: ContainerConfig, image: Mapping[str, Any]) -> HealthCheck | None:
    """Return the check of a container: its own, filled up from the image's, as Docker does.

    image: the ``config`` of its image. None when neither says anything.
    """
    theirs = image.get("Healthcheck")
    if not theirs or config.sandbox:
        return config.health
    own = config.health or HealthCheck()
    filled = {
        name: getattr(own, name) or _of_image(name, int(theirs.get(key) or 0))
        for name, key in _NAMES
    }
    test = () if _is_foreign(image) else tuple(theirs.get("Test") or ())
    return replace(own, test=own.test or test, **filled)


def _of_image(name: str, value: int) -> int:
    """Return a setting of an image's check as a container can have it.

    Docker refuses less than 1 ms where a caller says it, and takes it from an image, whose
    check then follows on itself without a pause.
    """
    if name == "retries":
        return max(value, 0)
    return max(value, _LEAST) if value else 0


def _is_foreign(image: Mapping[str, Any]) -> bool:
    """Return whether the image's check is of a kind that only others know."""
    test: list[str] = (image.get("Healthcheck") or {}).get("Test") or []
    return bool(test) and test[0] not in HEALTH_CHECKS


def is_checked(check: HealthCheck | None) -> bool:
    """Return whether there is anything to check."""
    return check is not None and bool(check.test) and check.test[0] != "NONE"


def as_docker(check: HealthCheck) -> dict[str, Any]:
    """Return the object that Docker has for it; what was not said is left out."""
    said = {"Test": list(check.test), **{key: getattr(check, name) for name, key in _NAMES}}
    return {key: value for key, value in said.items() if value}


def write(paths: Paths, config: ContainerConfig, image: Mapping[str, Any]) -> bool:
    """Write down what is to be checked; False when that is nothing. Raises OSError."""
    check = wanted(config, image)
    if _is_foreign(image):
        _log.warning("image %s: its health check is of no known kind", config.image)
    if check is None or not is_checked(check):
        return False
    args = list(check.test[1:])
    if check.test[0] == "CMD-SHELL":
        args = [*(image.get("Shell") or _SHELL), *args]
    body = {name: getattr(check, name) for name, _ in _NAMES if getattr(check, name)}
    # As a JSON string has it, for events that are put together as text.
    body |= {"args": args, "words": _encode(" ".join(args))[1:-1]}
    text = _encode(body).encode()
    if config.auto_remove:  # it does not outlive a reboot
        states.replace(paths.data, text, healthstate.CHECK)
    else:
        write_synced(f"{paths.data}/{healthstate.CHECK}", text)
    return True


def before(paths: Paths) -> list[dict[str, Any]]:
    """Return the results of the container's last life, which Docker keeps."""
    found = healthstate.read(paths.run)
    return [] if found is None else found.log


def introduce(paths: Paths, spec: str, log: list[dict[str, Any]], *, filtered: bool) -> None:
    """Have a container that is about to be started checked by its supervisor. Raises OSError.

    filtered: knarr gives what runs in it a seccomp filter.
    """
    body = read_state_file(f"{paths.data}/{healthstate.CHECK}") or {}
    whole = json.loads(spec)
    linux = whole.get("linux") or {}
    args = body.pop("args", None)
    if args:
        own = {name: value for name, value in whole["process"].items() if name not in _FIRST_ONLY}
        body["process"] = {**own, "args": args, "terminal": False}
        body["linux"] = {name: linux[name] for name in _COMMON if name in linux}
        body["filter"] = paths.filter if filtered else None
    else:
        body["problem"] = f"healthcheck for container {paths.id} has no command"
    states.replace(paths.run, healthstate.encode_check(body), healthstate.CHECK)
    states.replace(paths.run, healthstate.Health(log).encode(), healthstate.NAME)


def read(state: ContainerState, paths: Paths) -> Health:
    """Return what was found last; status ``none`` for a container that is not checked."""
    if not state.health:
        return Health()
    found = healthstate.read(paths.run) or healthstate.Health()
    return Health(state.health, found.streak, tuple(HealthResult(**each) for each in found.log))


def tell_pause(record: ContainerRecord, paths: Paths) -> None:
    """Have the supervisor look whether the container is paused, if it checks its health.

    One that is killed meanwhile has a successor, which looks by itself.
    """
    if not (read_state_file(paths.state) or {}).get("health"):
        return
    attachment = waiting.reach(record, paths)
    if attachment is not None:
        with attachment:
            attachment.look()
            attachment.settle()


def wait(
    engine: Engine, record: ContainerRecord, paths: Paths, timeout: float | None = None
) -> None:
    """Return once the container is healthy. timeout: seconds.

    Raises Timeout, Conflict when it has no check, is unhealthy, or does not run.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    handle = inotify.init()
    try:
        while True:
            try:
                mask = inotify.IN_MOVED_TO | inotify.IN_CREATE | inotify.IN_DELETE
                inotify.add_watch(handle, paths.run, mask)
            except FileNotFoundError:
                pass  # it does not run, as we shall see
            if _is_healthy(engine, record, paths):
                return
            left = None if deadline is None else deadline - time.monotonic()
            if not _await_change(handle, paths, left):
                raise errors.Timeout(
                    f"container {record.name}: not healthy after {timeout:g} seconds"
                )
    finally:
        os.close(handle)


def _is_healthy(engine: Engine, record: ContainerRecord, paths: Paths) -> bool:
    """Return whether it is; False as long as it can become so. Raises Conflict."""
    state = merged(record, paths)
    if state.stale:
        engine.recover_container(record)
        state = merged(record, paths)
    if not state.running:
        raise errors.Conflict(f"container {record.name} is not running")
    if not state.health:
        raise errors.Conflict(f"container {record.name} has no health check")
    if state.health == healthstate.UNHEALTHY and not state.paused:
        raise errors.Conflict(f"container {record.name} is unhealthy")
    return state.health == healthstate.HEALTHY


def _await_change(handle: int, paths: Paths, left: float | None) -> bool:
    """Wait until a file in the run directory or the supervisor is another; False: time is up."""
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    pid = int((read_state_file(paths.state) or {}).get("supervisor_pid") or 0)
    try:
        supervisor = process.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        return True
    try:
        if supervisor >= 0:
            poller.register(supervisor, select.POLLIN)
        ready = poller.poll(None if left is None else max(left, 0) * 1000)
    finally:
        if supervisor >= 0:
            os.close(supervisor)
    inotify.drain(handle)
    return bool(ready)
