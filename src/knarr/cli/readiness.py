"""What a waiting worker does ahead: it goes through the motions of ``run`` once.

A worker is a fork, and the first write to each page of a fork costs microseconds;
a command touches thousands. Doing it while nobody waits halves the time of the
command that comes. Nothing is written anywhere: the database is opened and read, a
spec is built and dropped.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from knarr.config import Settings
from knarr.errors import KnarrError

if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.images.service import Image

_EXAMPLE = ["run", "--rm", "-i", "--network", "none", "-m", "1g", "example", "true"]
_ID = "0" * 64
_ROUNDS = 10


class Ready:
    """An engine opened ahead, for the command whose settings and database are the same."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._database = _identity(engine)

    def close(self) -> None:
        """Let go of the engine."""
        self._engine.close()

    def engine(self, settings: Settings) -> Engine | None:
        """Return the engine when it serves ``settings`` and its database is still in place."""
        mine = self._engine.settings
        same = all(getattr(mine, name) == getattr(settings, name) for name in Settings.__slots__)
        return self._engine if same and _identity(self._engine) == self._database else None


def practise() -> None:
    """Do in the server what its workers will do, until the interpreter has made it quick.

    It replaces instructions by faster ones after some rounds (PEP 659), and workers inherit them.
    """
    for _ in range(_ROUNDS):
        ready = prepare()
        if ready is None:
            return
        ready.close()


def prepare(awaited: Callable[[], bool] = lambda: False) -> Ready | None:
    """Get ready for a command; return the opened engine, None where there is nothing yet.

    awaited: whether to come to an end, since a command is there.
    Whatever goes wrong is left for the command itself to meet and to report.
    """
    try:
        settings = Settings.from_environment()
        if not os.path.exists(f"{settings.run_root}/features.json"):
            return None  # nothing has run here: asking would start a launcher
        return _rehearse(settings, awaited)
    except Exception:
        return None


def _rehearse(settings: Settings, awaited: Callable[[], bool]) -> Ready | None:
    from knarr.cli import container_config, foreground, verbs
    from knarr.engine.engine import Engine

    engine = Engine(settings)
    if not os.path.exists(engine.store.path):
        return None
    ready = Ready(engine)
    command, words = verbs.find(_EXAMPLE)
    args = command.parse(words)
    foreground.keys(args)
    config = container_config.from_args(args, os.environ)
    if awaited():
        return ready
    engine.table.all()
    images = engine.images.list()
    if images and not awaited() and _without_a_word(engine):
        try:
            _build(engine, config, images[0])
        except KnarrError:
            return ready  # say, an image that was never unpacked: the engine itself is good
    return ready


def _build(engine: Engine, config: ContainerConfig, image: Image) -> None:
    """Build a container's row and spec and drop them."""
    from knarr.engine import accounts, create, serial
    from knarr.engine.records import CREATING, ContainerRecord

    text = serial.encode(config)
    serial.decode(text)
    # Found the way a command does: by name where it has one.
    config = replace(config, image=image.tags[0] if image.tags else image.id)
    config = create.effective(engine, config)
    blueprint = engine.blueprints.get(config, serial.encode(config))
    now = time.time_ns()
    record = ContainerRecord(
        _ID, "example", image.id, text, now, CREATING, 1, os.getpid(), 0, "", 0, None
    )
    wanted = blueprint.user
    user = engine.users.get(
        (image.id, wanted), lambda: accounts.resolve_in_image(engine, record, wanted)
    )
    blueprint.spec(record, user)
    engine.table.rehearse(record)


def _without_a_word(engine: Engine) -> bool:
    """Return whether building a spec warns of nothing: a warning is for the user's eyes."""
    from knarr.engine.security import apparmor

    quiet = not apparmor.active() or apparmor.loaded()
    return quiet and bool(engine.machine.features.get("idmap"))


def _identity(engine: Engine) -> tuple[int, int]:
    """Return device and inode of the database: a root that was made anew has another."""
    try:
        status = os.stat(engine.store.path)
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino
