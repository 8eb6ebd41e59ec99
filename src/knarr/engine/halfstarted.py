"""Starts whose makers died half way: what passed its gate runs, anything else never did.

See ``supervisor.state``: until the gate is open, a start's record has no name that
anybody looks for, so such a container shows as created all the while.
"""

from __future__ import annotations

import os
import select
import shutil
from typing import TYPE_CHECKING

from knarr import errors
from knarr.kernel import process
from knarr.supervisor import state as states
from knarr.supervisor import undo

if TYPE_CHECKING:
    from knarr.engine.paths import Paths

GATE_SECONDS = 1.0  # in which a process at its gate has seen that nobody will open it


def settle(paths: Paths) -> None:
    """Bring a start that nobody is at any more to one end; the caller holds the lock.

    Raises Unavailable when what it made cannot be taken back.
    """
    if not os.path.isdir(paths.run) or os.path.exists(paths.state) or paths.supervisor_lives():
        return
    starting = states.unpublished(paths.run)
    if starting is not None and states.alive(starting) and not _ends(int(starting["pid"])):
        states.publish(paths.run)  # from here on a container without a supervisor
        return
    problems = undo.replay(paths.run)
    if problems:
        raise errors.Unavailable(f"undo of {paths.run}: {problems[0]}")
    shutil.rmtree(paths.run, ignore_errors=True)


def _ends(pid: int) -> bool:
    """Return whether a process ends by itself: the makers of one at the gate are dead."""
    try:
        handle = process.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], GATE_SECONDS)[0])
    finally:
        os.close(handle)
