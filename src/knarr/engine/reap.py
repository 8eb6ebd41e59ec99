"""What a supervisor becomes when its container ended and nobody attached took note.

Run as ``python -I -c … PACKAGE_ROOT RUN_ROOT DATA_ROOT ID`` for containers with
``--rm`` only; how any other ended stands in its ``exit.json``.
"""

from __future__ import annotations

import sys

from knarr import errors
from knarr.config import Settings
from knarr.engine import remove
from knarr.engine.engine import Engine
from knarr.engine.paths import Paths


def reap(settings: Settings, container_id: str) -> None:
    """Remove the container, as far as that is not done already."""
    with Engine(settings) as engine:
        remove.reap(engine, container_id, Paths(settings, container_id))


def main() -> None:
    """Entry for the supervisor: arguments are run root, data root and container id."""
    run_root, data_root, container_id = sys.argv[1:4]
    try:
        reap(Settings(run_root=run_root, data_root=data_root), container_id)
    except errors.KnarrError as error:
        sys.exit(f"knarr: {error}")
