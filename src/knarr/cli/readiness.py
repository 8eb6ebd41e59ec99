"""What a waiting worker does ahead: it goes through the motions of ``run`` once.

A worker is a fork, and the first write to each page of a fork costs microseconds;
a command touches thousands. Doing it while nobody waits halves the time of the
command that comes. Nothing is written anywhere: the database is opened and read, a
spec is built and dropped.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from knarr.config import Settings
from knarr.errors import KnarrError

if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.engine.engine import Engine

_EXAMPLE = ["run", "--rm", "-i", "--network", "none", "-m", "1g", "example", "true"]
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
    """
    try:
        settings = Settings.from_environment()
        if not os.path.exists(f"{settings.run_root}/features.json"):
            return None  # nothing has run here: asking would start a launcher
        return _rehearse(settings, awaited)
    except Exception:  # of any kind
        # Whatever it is, a defect included: the command meets it as well and reports it. A worker
        # that died of it here would never come to that, nor would the next.
        return None


def _rehearse(settings: Settings, awaited: Callable[[], bool]) -> Ready | None:
    from knarr.cli import container_config, foreground, verbs
    from knarr.engine import rehearsal
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
    if images and not awaited():
        try:
            rehearsal.rehearse(engine, config, images[0])
        except KnarrError:
            return ready  # say, an image that was never unpacked: the engine itself is good
    return ready


def _identity(engine: Engine) -> tuple[int, int]:
    """Return device and inode of the database: a root that was made anew has another."""
    try:
        status = os.stat(engine.store.path)
    except OSError:
        return 0, 0  # there is none
    return status.st_dev, status.st_ino
