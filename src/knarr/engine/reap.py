"""What a supervisor becomes when its container ended and nobody attached took note.

That is for containers with ``--rm`` only; how any other ended stands in its ``exit.json``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from knarr import errors
from knarr.config import Settings
from knarr.engine import remove
from knarr.engine.engine import Engine
from knarr.engine.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Remove the container, as far as that is not done already."""
    carry_out(remove.reap)


def carry_out(work: Callable[[Engine, str, Paths], None]) -> None:
    """Do for a container what ``afterwards.command`` was made for; ends the process on an error."""
    run_root, data_root, container_id, *policy = sys.argv[1:]
    settings = Settings(
        run_root=run_root, data_root=data_root, policy=policy[0] if policy else None
    )
    try:
        with Engine(settings) as engine:
            work(engine, container_id, Paths(settings, container_id))
    except errors.KnarrError as error:
        sys.exit(f"knarr: {error}")
