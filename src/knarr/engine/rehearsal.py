"""Going through the motions of making a container: its row and its spec are built and dropped.

For a process that waits for work: whatever is touched for the first time costs it most. Nothing
is written anywhere.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from knarr.engine import accounts, create, serial
from knarr.engine.records import CREATING, ContainerRecord
from knarr.engine.security import apparmor

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.images.service import Image

_ID = "0" * 64


def rehearse(engine: Engine, config: ContainerConfig, image: Image) -> None:
    """Build what ``config`` says of ``image``, unless that would warn: it is for a user's eyes.

    Raises what making a container does, say for an image that was never unpacked.
    """
    if not _without_a_word(engine):
        return
    # Found the way a command does: by name where it has one.
    config = replace(config, image=image.tags[0] if image.tags else image.id)
    config = create.effective(engine, config)
    text = serial.encode(config)
    serial.decode(text)
    blueprint = engine.blueprints.get(config, text)
    now = time.time_ns()
    record = ContainerRecord(
        _ID, "example", image.id, text, now, CREATING, 1, os.getpid(), 0, "", 0, None
    )
    blueprint.spec(record, accounts.resolve_in_image(engine, record, blueprint.user))
    engine.table.rehearse(record)


def _without_a_word(engine: Engine) -> bool:
    """Return whether building a spec warns of nothing."""
    quiet = not apparmor.active() or apparmor.loaded()
    return quiet and bool(engine.machine.features.get("idmap"))
