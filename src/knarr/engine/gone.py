"""What is said of a container whose files are not there: somebody removes it meanwhile."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine.records import REMOVING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from knarr.engine.engine import Engine
    from knarr.engine.records import ContainerRecord


@contextmanager
def explained(engine: Engine, record: ContainerRecord) -> Iterator[None]:
    """Have what is not there mean that the container is being removed, or was, if that is so.

    Raises Conflict, NotFound in Docker's words, and what the block raises.
    """
    try:
        yield
    except (errors.NotFound, FileNotFoundError) as error:
        try:
            refuse(engine.table.existing(record.id))
        except errors.KnarrError as reason:
            raise reason from error
        raise


def refuse(record: ContainerRecord) -> None:
    """Raise Conflict for a container that is being removed. record: its row as it is now."""
    if record.state == REMOVING:
        raise errors.Conflict(f"container {record.id} is marked for removal")


def written(engine: Engine, container_id: str) -> int:
    """Return the bytes that a container has written; as with Docker 0 when they are gone."""
    try:
        return engine.driver.usage(container_id).size
    except (errors.NotFound, FileNotFoundError):
        return 0
