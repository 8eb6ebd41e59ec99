"""What a supervisor becomes when its container is to be started again.

While a container waits to be started again its supervisor sleeps, with the container's
lock in the run directory, and then becomes the process that starts it
(``python -I -c … PACKAGE_ROOT RUN_ROOT DATA_ROOT ID``). Whoever stops the container
writes that down first, so that this process, or a supervisor that only now sees the end,
leaves it alone.
"""

from __future__ import annotations

import sys

from knarr import errors
from knarr.config import Settings
from knarr.engine import restarts
from knarr.engine.engine import Engine
from knarr.engine.paths import Paths
from knarr.engine.translate import translated


def main() -> None:
    """Entry for the supervisor: arguments are run root, data root and container id."""
    run_root, data_root, container_id = sys.argv[1:4]
    settings = Settings(run_root=run_root, data_root=data_root)
    try:
        with Engine(settings) as engine:
            _start_again(engine, container_id, Paths(settings, container_id))
    except errors.KnarrError as error:
        sys.exit(f"knarr: {error}")


def _start_again(engine: Engine, container_id: str, paths: Paths) -> None:
    with translated(f"container {container_id[:12]}"), paths.locked():
        record = engine.table.get(container_id)
        if record is None:
            paths.forget_lock()
            return
        restarts.again(engine, record, paths)
