"""``commit``: an image from what a container changed and how it was configured."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.engine import changes, gone, health, pause
from knarr.engine.inspect import arguments, read_spec
from knarr.engine.ports import shown
from knarr.engine.records import REMOVING
from knarr.engine.spec_process import written_environment
from knarr.engine.translate import translated
from knarr.images.changes import apply_changes
from knarr.images.committing import HistoryNote

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord
    from knarr.images.service import Image


@dataclass(frozen=True, slots=True)
class Wish:
    """What the image is to be called and to say; pause: freeze the container meanwhile."""

    ref: str | None
    author: str
    message: str
    changes: tuple[str, ...]
    pause: bool


def commit(engine: Engine, record: ContainerRecord, paths: Paths, wish: Wish) -> Image:
    """Return the new image. Raises Conflict, InvalidArgument, NotFound."""
    now = engine.table.existing(record.id)
    if now.state == REMOVING:
        raise errors.Conflict(f"You cannot commit container {record.id} which is being removed")
    image = engine.image_defaults(record.image_id)
    config = apply_changes(inherited(now.config, image), wish.changes)
    note = HistoryNote(" ".join(arguments(read_spec(paths))), wish.author, wish.message)
    still = pause.still(engine, record, paths) if wish.pause else contextlib.nullcontext()
    with translated(f"container {record.name}"), gone.explained(engine, record), still:
        layer = engine.driver.export_diff(record.id, changes.mounted_on(engine, record))
        return engine.images.commit(record.image_id, layer, config, wish.ref, note=note)


def inherited(config: ContainerConfig, image: dict[str, Any]) -> dict[str, Any]:
    """Return what containers of the new image inherit: the image's own, under the container's.

    image: the ``config`` of the container's image.
    """
    found = dict(image)
    if not config.sandbox:
        if config.entrypoint is not None:
            found["Entrypoint"] = None if config.entrypoint == ("",) else list(config.entrypoint)
            found["Cmd"] = None
        if config.command:
            found["Cmd"] = list(config.command)
    found["Env"] = written_environment(config.env, image.get("Env") or ())
    own = {
        "User": config.user,
        "WorkingDir": config.working_dir,
        "StopSignal": config.stop_signal,
    }
    found |= {key: value for key, value in own.items() if value}
    found["ExposedPorts"] = shown.exposed(config, image)
    check = health.wanted(config, image)
    found["Healthcheck"] = None if check is None else health.as_docker(check)
    found["Labels"] = {**(image.get("Labels") or {}), **config.labels}
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}
