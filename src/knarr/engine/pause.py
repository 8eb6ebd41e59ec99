"""``pause`` and ``unpause``: all processes of a container stand still, and go on.

A file in the run directory says that it is so. It is written before the first process
stands still and removed after the last goes on, so that who is killed in between leaves
what ``unpause`` puts right. It goes with the run directory when the container ends.

Who has a container stand still for a copy keeps that file locked, so that the pause ends with
the process: whoever looks next finds the lock free and has the container go on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from knarr import errors
from knarr.cgroups import manager
from knarr.engine import health, held, host
from knarr.engine.crashpoint import reached
from knarr.engine.state import merged, read_state_file, refuse_restarting
from knarr.engine.translate import translated

if TYPE_CHECKING:
    from knarr.cgroups.protocol import Group
    from knarr.engine.engine import Engine
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord


def pause(engine: Engine, record: ContainerRecord, paths: Paths) -> None:
    """Freeze the container. Raises Conflict when it does not run or is paused already."""
    os.close(_pause(engine, record, paths))


def _pause(
    engine: Engine,
    record: ContainerRecord,
    paths: Paths,
    *,
    meanwhile: bool = False,
    briefly: bool = False,
) -> int:
    """Freeze the container; return the file that says so, locked if it is for a copy.

    briefly: for so short a time that whoever checks its health need not know.
    """
    with translated(f"container {record.name}"), paths.locked():
        state = held.settled(engine, record, paths)
        refuse_restarting(state, record.id)
        if not state.running:
            raise errors.Conflict(f"Container {record.id} is not running")
        if state.paused:
            raise errors.Conflict(f"Container {record.id} is already paused")
        note = -1
        try:
            group = running_group(paths)
            note = _note(paths, meanwhile=meanwhile)
            reached("pause.noted")
            group.freeze()
            if not host.is_alive(state.pid, state.start_time):
                group.thaw()
                raise ProcessLookupError(3, "has just ended")
        except OSError as error:
            if note >= 0:
                os.close(note)
            _forget(paths)
            ended = isinstance(error, ProcessLookupError)  # its supervisor may have yet to say so
            if ended or not held.settled(engine, record, paths).running:
                raise errors.Conflict(f"Container {record.id} is not running") from error
            raise
        reached("pause.frozen")
        try:
            if not briefly:
                health.tell_pause(record, paths)
        except BaseException:  # also a signal's
            os.close(note)
            raise
    return note


def _note(paths: Paths, *, meanwhile: bool) -> int:
    """Make the file that says that the container is paused; complete before it is seen."""
    temporary = f"{paths.run}/.paused"
    note = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if meanwhile:
            fcntl.flock(note, fcntl.LOCK_EX)
            os.write(note, b"for a copy\n")
        os.rename(temporary, paths.paused)
    except BaseException:  # also a signal's
        os.close(note)
        raise
    return note


def unpause(engine: Engine, record: ContainerRecord, paths: Paths) -> None:
    """Let the container go on. Raises Conflict when it is not paused."""
    with translated(f"container {record.name}"), paths.locked():
        if not held.settled(engine, record, paths).paused:
            raise errors.Conflict(f"Container {record.id} is not paused")
        release(paths)
        health.tell_pause(record, paths)


@contextlib.contextmanager
def still(
    engine: Engine, record: ContainerRecord, paths: Paths, *, briefly: bool = False
) -> Iterator[None]:
    """Have a container stand still while the block runs, if it runs; a paused one stays so.

    briefly: for so short a time that whoever checks its health need not know.
    """
    note = -1
    if merged(record, paths).status == "running":
        # One that has ended, or was paused by somebody else, stands still anyway.
        with contextlib.suppress(errors.Conflict):
            note = _pause(engine, record, paths, meanwhile=True, briefly=briefly)
    try:
        reached("still")
        yield
    finally:
        if note >= 0:
            _go_on(record, paths, note)


def _go_on(record: ContainerRecord, paths: Paths, note: int) -> None:
    """Let a container go on, unless its pause has become somebody else's."""
    try:
        with paths.locked():
            if _is_at(note, paths.paused):
                release(paths)
                health.tell_pause(record, paths)
    finally:
        os.close(note)


def _is_at(note: int, path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(note), os.stat(path))
    return False


def release(paths: Paths) -> bool:
    """Let a container go on if it is paused, which is returned; it may end meanwhile."""
    if not os.path.exists(paths.paused):
        return False
    try:
        running_group(paths).thaw()
        reached("pause.thawed")
    except FileNotFoundError:
        pass  # it has ended
    _forget(paths)
    return True


def running_group(paths: Paths) -> Group:
    """Return the control group of a container that runs. Raises FileNotFoundError."""
    where = (read_state_file(paths.state) or {}).get("cgroup")
    if where is None:
        raise FileNotFoundError(2, "has ended", paths.state)
    return manager.detect(where["manager"]).open(where["path"])


def _forget(paths: Paths) -> None:
    try:
        os.unlink(paths.paused)
    except FileNotFoundError:
        return
