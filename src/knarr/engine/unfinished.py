"""Containers that were never complete: nobody sees one; when its maker died its name is free."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine.paths import Paths
from knarr.engine.records import CREATING

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.records import ContainerRecord


def is_unfinished(engine: Engine, record: ContainerRecord) -> bool:
    """Return True while a container is being made, or if that was broken off.

    It has an end only for who waits for the container's lock, as `settled` does.
    """
    return record.state == CREATING and not os.path.exists(Paths(engine.settings, record.id).spec)


def find(engine: Engine, name_or_id: str) -> ContainerRecord:
    """Return the row of a container that is complete, waiting for one that is being made.

    What a dead maker left is taken away. Raises NotFound, and InvalidArgument for several.
    """
    record = engine.table.find(name_or_id)
    if is_unfinished(engine, record) and not settled(engine, record):
        raise errors.NotFound(f"No such container: {name_or_id}")
    return record


def settled(engine: Engine, record: ContainerRecord) -> bool:
    """Wait for who makes a container; return whether it is complete now. Raises OSError."""
    engine.recover_container(record)
    return engine.table.get(record.id) is not None and not is_unfinished(engine, record)


def freed(engine: Engine, name: str) -> bool:
    """Return whether a name in use has become free, since its holder was never finished."""
    try:
        record = engine.table.find(name)
    except (errors.NotFound, errors.InvalidArgument):
        return True
    if not is_unfinished(engine, record):
        return False
    settled(engine, record)
    return engine.table.get(record.id) is None
