"""``clone`` and ``fork``: a second container with the files of a first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine import gone, pause

if TYPE_CHECKING:
    from knarr.engine.container import Container
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.engine.records import ContainerRecord


def clone(engine: Engine, container: Container, name: str | None) -> Container:
    """Return a container with the other's configuration and files, not started."""
    with source(engine, container, name) as config:
        if config.kill_on_owner_exit:
            # There is nobody that it could end with, or be removed for.
            config = replace(config, kill_on_owner_exit=False, auto_remove=False)
        return engine.containers.create(config, source=container)


@contextlib.contextmanager
def source(engine: Engine, container: Container, name: str | None) -> Iterator[ContainerConfig]:
    """Have a container stand still while the block copies it; yield the copy's configuration.

    Raises NotFound, Conflict for one that is being removed.
    """
    record = engine.table.existing(container.id)
    gone.refuse(record)
    config = replace(record.config, name=name, image=_image(engine, record), cidfile=None)
    with (
        gone.explained(engine, record),
        pause.still(engine, record, container.paths, briefly=True),
    ):
        yield config


def _image(engine: Engine, record: ContainerRecord) -> str:
    """Return what names the container's image now: the word it was made with, or its id."""
    config = record.config
    with contextlib.suppress(errors.NotFound, errors.InvalidArgument):
        if engine.images.get(config.image, config.platform).record.id == record.image_id:
            return config.image
    return record.image_id
