"""What a container is, for who holds its lock: nobody else changes it meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine.records import REMOVING
from knarr.engine.state import merged

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord
    from knarr.engine.state import ContainerState


def row(engine: Engine, paths: Paths) -> ContainerRecord:
    """Return the row as it is now. Raises NotFound for what has been removed, lock and all."""
    try:
        return engine.table.existing(paths.id)
    except errors.NotFound:
        paths.forget_lock()
        raise


def startable(engine: Engine, paths: Paths) -> ContainerRecord:
    """Return the row of a container that may be started. Raises as :func:`row`, Conflict."""
    record = row(engine, paths)
    if record.state == REMOVING:
        raise errors.Conflict("container is marked for removal and cannot be started")
    return record


def settled(engine: Engine, record: ContainerRecord, paths: Paths) -> ContainerState:
    """Return the state, after what a dead supervisor left was put right. Raises as :func:`row`."""
    state = merged(record, paths)
    while state.stale:
        engine.recover_container(record, held=True)
        state = merged(record, paths)
    if not state.running:
        row(engine, paths)
    return state
