"""What a container changed in its image's file system: for ``diff`` and ``commit``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.engine import gone
from knarr.engine.paths import Paths
from knarr.engine.translate import translated

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.records import ContainerRecord
    from knarr.snapshots.driver import Change

_STANDARD = ("/dev", "/proc", "/sys")


def diff(engine: Engine, record: ContainerRecord) -> list[Change]:
    """Return the changes, sorted by path. Raises NotFound, Conflict when it is gone, or going."""
    with translated(f"container {record.name}"), gone.explained(engine, record):
        return list(engine.driver.diff(record.id, mounted_on(engine, record)))


def mounted_on(engine: Engine, record: ContainerRecord) -> list[str]:
    """Return where every container has something mounted that its image may have no place for.

    The places that were made for that are nobody's change. Those of binds and tmpfs were
    asked for, and count as they do with Docker.
    """
    return [*Paths(engine.settings, record.id).files, *_STANDARD]
