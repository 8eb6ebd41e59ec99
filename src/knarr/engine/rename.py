"""``rename``: another name for a container; nothing else of it has the name in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine import held, sharing

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord


def rename(engine: Engine, record: ContainerRecord, paths: Paths, name: str) -> None:
    """Rename the container. Raises InvalidArgument, Conflict (name in use), NotFound.

    A power loss leaves it with the one name or the other.
    """
    if not name:
        raise errors.InvalidArgument("Neither old nor new names may be empty")
    with paths.locked():
        if held.row(engine, paths).name == name.removeprefix("/"):
            raise errors.InvalidArgument(
                "Renaming a container with the same name as its current name"
            )
        try:
            engine.table.rename(record.id, name)
        except (errors.Conflict, errors.InvalidArgument) as error:
            raise type(error)(f"Error when allocating new name: {error}") from error
        if sharing.is_networked(record.config):
            from knarr.engine.networks import live

            live.renamed(engine, engine.table.existing(record.id))
