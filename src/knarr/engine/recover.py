"""``recover``: puts right what dead processes and reboots left, beside whatever goes on now.

Every container is looked at under its operation lock; one that is locked is
somebody's work in progress and is left alone. What to do follows from the row,
the files and who lives; doing it twice is harmless, so a recover that is killed
is finished by the next.
"""

from __future__ import annotations

import logging
import os
import select
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.engine import arriving, bypolicy, events, halfstarted, health, host, pause, remove, stop
from knarr.engine.paths import Paths, prepare_run_root
from knarr.engine.records import CREATED, CREATING, REMOVING, ContainerRecord
from knarr.engine.state import REBOOT_EXIT, awaits_start, merged, paused, read_state_file
from knarr.engine.translate import translated
from knarr.kernel import process
from knarr.supervisor import restart, undo
from knarr.supervisor import state as states
from knarr.supervisor.client import LaunchFailed

if TYPE_CHECKING:
    from knarr.engine.engine import Engine

_log = logging.getLogger("knarr.engine")

HEIR_SECONDS = 2.0
_LOST = "the exit status was lost with the supervisor that was killed"


@dataclass(slots=True)
class RecoverReport:
    """What ``recover`` did. Each list holds container ids, except leftovers and problems (text)."""

    adopted: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the report as lines for people; nothing when there was nothing to do."""
        named = (
            ("adopted", self.adopted),
            ("marked as exited", self.ended),
            ("removed", self.removed),
            ("started", self.started),
        )
        found = [f"{words} {container[:12]}" for words, ids in named for container in ids]
        return found + [f"cleaned {text}" for text in self.leftovers] + self.problems


def recover(engine: Engine) -> RecoverReport:
    """Put everything right and return what was done. One failure does not stop the rest."""
    report = RecoverReport()
    with translated("recover"):
        os.makedirs(engine.settings.data_root, mode=0o711, exist_ok=True)
        prepare_run_root(engine.settings.run_root)
    for record in engine.table.all():
        _attempt(report, f"container {record.name}", partial(_settle, engine, record, report))
    for container_id in _strangers(engine):
        _attempt(
            report,
            f"container {container_id[:12]}",
            partial(_remove_stranger, engine, container_id, report),
        )
    for subject, work in _sweeps(engine):
        _attempt(report, subject, work)
    _attempt(report, "networks", partial(_mend_networks, engine, report))
    return report


def _mend_networks(engine: Engine, report: RecoverReport) -> None:
    mended = engine.networks.recover()
    report.leftovers.extend(mended.done)
    report.problems.extend(mended.problems)


def recover_container(engine: Engine, record: ContainerRecord, *, held: bool = False) -> None:
    """Put one container right; waits for whoever works on it, unless the caller holds the lock.

    Raises what went wrong.
    """
    paths = Paths(engine.settings, record.id)
    lock = nullcontext() if held else paths.locked()
    with translated(f"container {record.name}"), lock:
        if engine.table.get(record.id) is None:
            paths.forget_lock()
            return
        try:
            _settle_locked(engine, record, paths, RecoverReport())
        except errors.KnarrError as error:
            state = merged(record, paths)
            if state.stale:
                raise
            # One that runs was taken over by somebody else. Another's policy wanted it started
            # and it could not be: it has ended, and says why.
            if not state.running:
                _log.warning("container %s: %s", record.name, error)


def _attempt(report: RecoverReport, subject: str, work: Callable[[], object]) -> None:
    try:
        with translated(subject):
            work()
    except errors.KnarrError as error:
        _log.warning("recover: %s", error)
        report.problems.append(str(error))


def _settle(engine: Engine, record: ContainerRecord, report: RecoverReport) -> None:
    paths = Paths(engine.settings, record.id)
    with paths.try_locked() as held:
        if not held:
            return
        fresh = engine.table.get(record.id)
        if fresh is None:
            paths.forget_lock()
        else:
            _settle_locked(engine, fresh, paths, report)


def _settle_locked(
    engine: Engine, record: ContainerRecord, paths: Paths, report: RecoverReport
) -> None:
    """Bring one container to a state in which it can stay."""
    halfstarted.settle(paths)
    _await_heirs(paths)
    state = merged(record, paths)
    if state.paused and paused(paths):  # whatever has become of its supervisor
        pause.release(paths)
        health.tell_pause(record, paths)
        report.leftovers.append(f"a pause of container {record.id[:12]}")
        state = merged(record, paths)
    if _is_abandoned(record, paths, running=state.running):
        stop.kill_held(engine, replace(record, state=CREATED), paths)
        remove.erase(engine, record, paths)
        report.removed.append(record.id)
        return
    if state.restarting:
        if state.stale and bypolicy.start_again(engine, record, paths):
            report.started.append(record.id)
        return
    if state.stale:
        if _settle_orphan(engine, record, paths, report):
            return
    elif state.running and _has_lost_owner(record):
        stop.kill_held(engine, record, paths)
    elif state.running or paths.supervisor_lives():
        return  # all is well, or its supervisor is just finishing
    elif not _note_reboot(record, paths):
        if not record.auto_remove:
            _start_after_boot(engine, record, paths, report)
            return
        if state.status != "exited":
            return
    report.ended.append(record.id)
    if record.auto_remove:
        remove.erase(engine, record, paths)
        report.removed.append(record.id)
    else:
        _start_after_boot(engine, record, paths, report)


def _settle_orphan(
    engine: Engine, record: ContainerRecord, paths: Paths, report: RecoverReport
) -> bool:
    """Settle one whose supervisor is dead; False when it has ended and will stay so."""
    if _take_over(engine, record, paths):
        report.adopted.append(record.id)
        return True
    if not merged(record, paths).stale:
        return True  # the launcher was quicker, and whom it sent has seen the end and told it
    _note_end(record, paths, REBOOT_EXIT, _LOST, again=True)
    events.note_end(engine, record, REBOOT_EXIT)
    if merged(record, paths).restarting and bypolicy.start_again(engine, record, paths):
        report.started.append(record.id)
        return True
    return False


def _start_after_boot(
    engine: Engine, record: ContainerRecord, paths: Paths, report: RecoverReport
) -> None:
    """Start a container that ran in an earlier boot, if its policy wants that."""
    if record.started is None or record.boot_id == host.boot_id():
        return
    if bypolicy.start_after_boot(engine, record, paths):
        report.started.append(record.id)


def _await_heirs(paths: Paths) -> None:
    """Wait a moment for a dead supervisor's lock: what it had forked shares it until it ends.

    So does a successor that the launcher sends, until it has found nothing to do.
    """
    deadline = time.monotonic() + HEIR_SECONDS
    while time.monotonic() < deadline:
        live = read_state_file(paths.state)
        if live is None or not (live["status"] == "running" or awaits_start(live)):
            return
        if states.start_time(int(live.get("supervisor_pid") or 0)) is not None:
            return
        if not paths.supervisor_lives():
            return
        time.sleep(0.002)


def _is_abandoned(record: ContainerRecord, paths: Paths, *, running: bool) -> bool:
    """Return True for what nobody will finish: half made, half removed, ``--rm`` before a boot."""
    if record.state == REMOVING:
        return True
    if running:
        return False
    this_boot = record.boot_id == host.boot_id()
    if record.state == CREATING and not os.path.exists(paths.spec):
        return not (this_boot and host.is_alive(record.owner_pid, record.owner_start))
    return bool(record.auto_remove) and not this_boot


def _take_over(engine: Engine, record: ContainerRecord, paths: Paths) -> bool:
    """Give a living container a new supervisor; False when there is none to take over.

    One that must not outlive its owner is killed instead: the connection that
    told of the owner's life ended with the supervisor.
    """
    live = read_state_file(paths.state)
    if live is None or not states.alive(live):
        return False
    if record.config.kill_on_owner_exit:
        _kill(live)
        return False
    try:
        return engine.launcher.adopt(paths.run)
    except LaunchFailed as failure:
        if failure.kind == "busy":
            return True  # the launcher, which saw it die, was quicker
        raise errors.Unavailable(f"taking over: {failure.message}") from failure


def _has_lost_owner(record: ContainerRecord) -> bool:
    """Return True for a container that was to die with its owner, whose owner is dead."""
    return record.config.kill_on_owner_exit and not host.is_alive(
        record.owner_pid, record.owner_start
    )


def _kill(live: dict[str, Any]) -> None:
    """Kill the first process of a container without a supervisor, and wait for its end."""
    try:
        handle = process.pidfd_open(int(live["pid"]))
    except ProcessLookupError:
        return
    try:
        # Checked after opening: the descriptor stays with this process whatever the pid does.
        if states.alive(live):
            process.pidfd_send_signal(handle, 9)
            select.select([handle], [], [])
    finally:
        os.close(handle)


def _note_reboot(record: ContainerRecord, paths: Paths) -> bool:
    """Write down the end of a container that ran at the last power loss; False when it did not."""
    live = read_state_file(paths.state)
    if live is None:
        lost = (
            record.started is not None
            and record.boot_id != host.boot_id()
            and not os.path.exists(paths.exit)
        )
    else:
        lost = live["status"] == "running" and live.get("boot_id") != host.boot_id()
    if lost:
        _note_end(record, paths, REBOOT_EXIT, "the machine was restarted")
    return lost


def _note_end(
    record: ContainerRecord, paths: Paths, code: int, error: str, *, again: bool = False
) -> None:
    """Undo what the supervisor made and write down an end that nobody saw.

    again: if its policy wants it started after such an end, that is due now.
    """
    undo.replay(paths.run)
    live = read_state_file(paths.state) or {}
    started = int(live.get("started_at") or record.started or 0)
    ended = {
        **live,
        "status": "exited",
        "exit_code": code,
        "oom_killed": False,
        "error": error,
        "started_at": started,
        "finished_at": max(started, int(live.get("finished_at") or 0)),
    }
    if again:
        now = time.time_ns()
        start = restart.due(paths.exit, states.encode(live), code, now)
        if start is not None:
            ended["restart"] = {"count": start.count, "seconds": start.seconds, "at": now}
    if not record.auto_remove:
        states.write(paths.data, ended, os.path.basename(paths.exit))
    if live:
        states.write(paths.run, ended)


def _strangers(engine: Engine) -> set[str]:
    """Return ids that something on disk knows, and the database does not."""
    settings = engine.settings
    found = set(engine.driver.list_keys())
    for directory in (
        f"{settings.run_root}/containers",
        f"{settings.run_root}/locks",
        f"{settings.data_root}/containers",
    ):
        found.update(_names(directory))
    return {name for name in found if engine.table.get(name) is None}


def _names(directory: str) -> Iterable[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return ()


def _remove_stranger(engine: Engine, container_id: str, report: RecoverReport) -> None:
    """Remove what is left of a container without a row; kills what still runs of it."""
    paths = Paths(engine.settings, container_id)
    with paths.try_locked() as held:
        if not held or engine.table.get(container_id) is not None:
            return
        if paths.supervisor_lives():
            return  # it is finishing, or ends with its container: the next recover sees
        live = read_state_file(paths.state)
        if live is not None and states.alive(live):
            _kill(live)
        problems = undo.replay(paths.run)
        if problems:
            raise errors.Unavailable(f"undo of {paths.run}: {problems[0]}")
        existed = remove.erase_files(engine, paths)
        if existed:
            report.leftovers.append(f"container {container_id[:12]}")


def _sweeps(engine: Engine) -> Iterable[tuple[str, Callable[[], object]]]:
    """Return what has to be swept besides containers, with a name for each."""
    return (
        ("trash", engine.empty_trash),
        ("snapshots", engine.driver.cleanup),
        ("layers that are to come", partial(arriving.watch_if_any, engine)),
        ("blobs", engine.content.cleanup),
        ("images", engine.images.sweep),
        ("seccomp filters", engine.filters.prune),
    )
