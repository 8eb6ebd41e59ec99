"""What is wanted of a container that has ended: a file beside its exit record.

What stands in it is said in ``supervisor.restart``.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

from knarr.engine import afterwards, held, waiting
from knarr.engine.paths import write_synced
from knarr.engine.state import awaits_start, merged, read_state_file
from knarr.supervisor import restart

if TYPE_CHECKING:
    from knarr.config import Settings
    from knarr.engine.engine import Engine
    from knarr.engine.model import RestartPolicy
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord


def write(
    settings: Settings, paths: Paths, policy: RestartPolicy, *, stopped: bool = False
) -> None:
    """Write down what is wanted after an end; nothing where that is nothing. Raises OSError."""
    if policy.name == "no":
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_path(paths))
        return
    wanted = {
        "policy": policy.name,
        "retries": policy.retries,
        "stopped": stopped,
        "command": afterwards.command(settings, "startagain", paths.id),
    }
    write_synced(_path(paths), json.dumps(wanted).encode())


def set_stopped(paths: Paths, *, stopped: bool) -> bool:
    """Note that somebody has stopped the container, or started it; False when that was so.

    Raises OSError.
    """
    wanted = restart.rules(paths.exit)
    if wanted is None or bool(wanted.get("stopped")) == stopped:
        return False
    write_synced(_path(paths), json.dumps({**wanted, "stopped": stopped}).encode())
    return True


def forbid(engine: Engine, record: ContainerRecord, paths: Paths) -> bool:
    """Note that somebody stops the container; True when it was to be started again, and is not.

    Under its lock: whoever is just starting it has done so then, and it has to be stopped as
    any that runs; whoever comes later finds the note. Who already stops it, to start it again,
    has the lock until then and is not waited for. The caller does not hold the lock.
    Raises NotFound, OSError.
    """
    wanted = restart.rules(paths.exit)
    if wanted is None or (wanted.get("stopped") and merged(record, paths).running):
        return False
    with paths.locked():
        held.row(engine, paths)
        return set_stopped(paths, stopped=True) and cancel(paths)


def cancel(paths: Paths) -> bool:
    """End what waits to start the container again; False when nothing does.

    What is wanted was changed first. The caller holds the container's lock, so that nobody
    starts it meanwhile.
    """
    if not awaits_start(read_state_file(paths.state)):
        return False
    waiting.kill_supervisor(paths)
    return True


def _path(paths: Paths) -> str:
    return f"{paths.data}/{restart.NAME}"
