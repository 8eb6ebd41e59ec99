"""What a supervisor becomes when its container is to be started again.

While a container waits to be started again its supervisor sleeps, with the container's
lock in the run directory, and then becomes the process that starts it. Whoever stops the container
writes that down first, so that this process, or a supervisor that only now sees the end,
leaves it alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.engine import bypolicy
from knarr.engine.reap import carry_out
from knarr.engine.records import REMOVING
from knarr.engine.translate import translated

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.paths import Paths


def main() -> None:
    """Start the container again if it still is to be."""
    carry_out(_under_lock)


def _under_lock(engine: Engine, container_id: str, paths: Paths) -> None:
    with translated(f"container {container_id[:12]}"), paths.locked():
        record = engine.table.get(container_id)
        if record is None:
            paths.forget_lock()
            return
        if record.state != REMOVING:
            bypolicy.start_again(engine, record, paths)
