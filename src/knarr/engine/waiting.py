"""``wait``: blocks on the end of a container without asking again and again."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine.attach import Attachment
from knarr.engine.state import awaits_start, merged, read_state_file
from knarr.kernel import inotify, process

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import ExitStatus
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord

SUPERVISOR_SECONDS = 20.0


def wait(
    engine: Engine, record: ContainerRecord, paths: Paths, timeout: float | None = None
) -> ExitStatus:
    """Return how the container ended; waits for it, at most ``timeout`` seconds.

    One that has ended, or was never started, is answered at once. Raises
    Timeout. A supervisor that dies meanwhile is taken over for.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        state = merged(record, paths)
        if state.stale:
            engine.recover_container(record)
            continue
        if not state.running:
            return state.exit_status()
        left = None if deadline is None else deadline - time.monotonic()
        attachment = reach(record, paths)
        if attachment is None:
            continue
        with attachment:
            status = attachment.wait(left)
        if status is not None:
            return status


def reach(record: ContainerRecord, paths: Paths) -> Attachment | None:
    """Return a connection to the supervisor; None when it is gone or its container ended.

    One that has only just taken over does not listen yet: the kernel tells when
    its socket appears. Raises Unavailable when that takes too long.
    """
    deadline = time.monotonic() + SUPERVISOR_SECONDS
    watch: int | None = None
    try:
        while True:
            try:
                return Attachment.connect(paths.attach, record.id)
            except errors.Unavailable:
                state = merged(record, paths)
                if state.stale or not state.running:
                    return None
                if time.monotonic() > deadline:
                    raise
            if watch is None:
                watch = _watch(paths)  # and try once more: it may have come in between
            elif watch >= 0:
                # A death here makes no event; hence the bound.
                select.select([watch], [], [], 0.25)
                inotify.drain(watch)
    finally:
        if watch is not None and watch >= 0:
            os.close(watch)


def _watch(paths: Paths) -> int:
    """Return an inotify descriptor on the run directory, -1 when it is gone."""
    handle = inotify.init()
    try:
        mask = inotify.IN_CREATE | inotify.IN_MOVED_TO | inotify.IN_DELETE
        inotify.add_watch(handle, paths.run, mask)
    except FileNotFoundError:
        os.close(handle)
        return -1
    except OSError:
        os.close(handle)
        raise
    return handle


def await_supervisor(paths: Paths, seconds: float = SUPERVISOR_SECONDS) -> None:
    """Wait until no supervisor holds the container's run directory.

    It lets go after it has undone all it made. Its process may go on (it
    becomes the reaper, which may wait for a lock of ours), so the lock is what
    counts: its end wakes us, and without one we look again, ever less often.
    One that sleeps until its container is due to be started again is ended.
    The caller holds the container's lock. Raises Unavailable when that takes longer
    than ``seconds``.
    """
    if awaits_start(read_state_file(paths.state)):
        kill_supervisor(paths)
    _await_lock(paths, seconds)


def await_start(paths: Paths) -> None:
    """Wait while others are at a start whose asker was killed: until it runs, or never will.

    The caller holds the container's lock. Raises Unavailable when that takes too long.
    """
    _await_lock(paths, SUPERVISOR_SECONDS, unless=paths.state)


def _await_lock(paths: Paths, seconds: float, unless: str = "") -> None:
    """Wait until no supervisor holds its lock, or until there is the file ``unless``."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while not (unless and os.path.exists(unless)) and paths.supervisor_lives():
        live = read_state_file(paths.state)
        pid = int(live.get("supervisor_pid") or 0) if live else 0
        if time.monotonic() > deadline:
            raise errors.Unavailable(
                f"container {paths.id[:12]}: its supervisor (pid {pid or 'unknown'}) does not end"
            )
        _await_end(pid, paths, pause)
        pause = min(pause * 2, 0.05)


def kill_supervisor(paths: Paths) -> None:
    """Kill a supervisor that does not do its work any more, and wait for its end."""
    live = read_state_file(paths.state)
    pid = int(live.get("supervisor_pid") or 0) if live else 0
    if not pid or not paths.supervisor_lives():
        return
    try:
        handle = process.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Looked at again with the descriptor open: then the pid is still the holder's.
        if paths.supervisor_lives():
            process.pidfd_send_signal(handle, 9)
            select.select([handle], [], [], SUPERVISOR_SECONDS)
    finally:
        os.close(handle)


def _await_end(pid: int, paths: Paths, seconds: float) -> None:
    """Sleep until that process has ended, at most ``seconds``."""
    try:
        handle = process.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        return
    if handle < 0:  # it holds the lock before it has written its pid, and after it
        time.sleep(seconds)
        return
    try:
        if paths.supervisor_lives():  # else it ended in between, the pid may be another's
            select.select([handle], [], [], seconds)
    finally:
        os.close(handle)
