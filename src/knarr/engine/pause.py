"""``pause`` and ``unpause``: all processes of a container stand still, and go on.

A file in the run directory says that it is so. It is written before the first process
stands still and removed after the last goes on, so that who is killed in between leaves
what ``unpause`` puts right. It goes with the run directory when the container ends.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from knarr import errors
from knarr.cgroups import manager
from knarr.engine import health, held
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
    with translated(f"container {record.name}"), paths.locked():
        state = held.settled(engine, record, paths)
        refuse_restarting(state, record.id)
        if not state.running:
            raise errors.Conflict(f"Container {record.id} is not running")
        if state.paused:
            raise errors.Conflict(f"Container {record.id} is already paused")
        try:
            group = running_group(paths)
            os.close(os.open(paths.paused, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            reached("pause.noted")
            group.freeze()
        except OSError as error:
            _forget(paths)
            if not held.settled(engine, record, paths).running:
                raise errors.Conflict(f"Container {record.id} is not running") from error
            raise
        reached("pause.frozen")
        health.tell_pause(record, paths)


def unpause(engine: Engine, record: ContainerRecord, paths: Paths) -> None:
    """Let the container go on. Raises Conflict when it is not paused."""
    with translated(f"container {record.name}"), paths.locked():
        if not held.settled(engine, record, paths).paused:
            raise errors.Conflict(f"Container {record.id} is not paused")
        release(paths)
        health.tell_pause(record, paths)


@contextlib.contextmanager
def still(engine: Engine, record: ContainerRecord, paths: Paths) -> Iterator[None]:
    """Have a container stand still while the block runs, if it runs; a paused one stays so."""
    paused = False
    if merged(record, paths).status == "running":
        try:
            pause(engine, record, paths)
            paused = True
        except errors.Conflict:
            pass  # it has ended, or was paused by somebody else
    try:
        yield
    finally:
        if paused:
            with contextlib.suppress(errors.Conflict, errors.NotFound):
                unpause(engine, record, paths)


def release(paths: Paths) -> None:
    """Let a container go on if it is paused; it may end meanwhile."""
    if not os.path.exists(paths.paused):
        return
    try:
        running_group(paths).thaw()
        reached("pause.thawed")
    except FileNotFoundError:
        pass  # it has ended
    _forget(paths)


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
