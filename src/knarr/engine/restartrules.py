"""What is wanted of a container that has ended: a file beside its exit record.

What stands in it is said in ``supervisor.restart``.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

from knarr.engine import afterwards, waiting
from knarr.engine.paths import write_synced
from knarr.engine.state import awaits_start, merged, read_state_file
from knarr.supervisor import restart

if TYPE_CHECKING:
    from knarr.config import Settings
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


def cancel(record: ContainerRecord, paths: Paths) -> bool:
    """Have a container that waits to be started again stay as it is; False when none does.

    ``set_stopped`` comes first. The caller does not hold the container's lock.
    """
    if not awaits_start(read_state_file(paths.state)):
        return False
    waiting.kill_supervisor(paths)
    # What starts it may be at it: it holds the lock, and has looked or will look again.
    with paths.locked():
        return not merged(record, paths).running


def _path(paths: Paths) -> str:
    return f"{paths.data}/{restart.NAME}"
