"""Layers that are still on their way while containers use them: somebody has to bring them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from knarr.content import digest as digests
from knarr.engine.paths import prepare_run_root
from knarr.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from knarr.engine.engine import Engine
    from knarr.snapshots.coming import Coming


def any_is(engine: Engine) -> bool:
    """Return whether a layer is on its way: a look at one name, for every start."""
    return os.path.exists(f"{engine.settings.data_root}/snapshots/coming")


def watch(engine: Engine) -> None:
    """Return when all such layers are watched over, mounted and brought. Raises Unavailable."""
    from knarr.images.lazy import client

    prepare_run_root(engine.settings.run_root)
    client.watch(engine.settings.data_root, engine.settings.run_root)


def refuse(engine: Engine, names: Iterable[str]) -> None:
    """Raise Unavailable for an image of which a layer is on its way: it cannot be given away."""
    coming = {each.chain_id for each in _coming(engine)} if any_is(engine) else set()
    for name in names if coming else ():
        record = engine.images.get(name).record
        if coming & set(digests.chain_ids(record.diff_ids)):
            raise Unavailable(f"image {name} has not arrived yet: `knarr pull {name}` waits for it")


def _coming(engine: Engine) -> list[Coming]:
    from knarr.snapshots.drivers import erofs

    return engine.driver.coming() if isinstance(engine.driver, erofs.Driver) else []


def watch_if_any(engine: Engine) -> None:
    """Do so where a layer is on its way."""
    if any_is(engine):
        watch(engine)
