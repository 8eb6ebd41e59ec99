"""Starts whose makers died half way: what passed its gate runs, anything else never did.

See ``supervisor.state``: until the gate is open, a start's record has no name that
anybody looks for, so such a container shows as created all the while.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from knarr import errors
from knarr.supervisor import state as states
from knarr.supervisor import undo

if TYPE_CHECKING:
    from knarr.engine.paths import Paths


def settle(paths: Paths) -> None:
    """Bring a start that nobody is at any more to one end; the caller holds the lock.

    Raises Unavailable when what it made cannot be taken back.
    """
    if os.path.exists(paths.state):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(paths.exit_before)  # it was started, whoever asked for that
        return
    if paths.supervisor_lives():
        return
    if os.path.isdir(paths.run):
        if states.settled(paths.run) is not None:
            return  # a container without a supervisor from here on
        _take_back(paths)
    # As it ended before that start, unless it was started, and has ended, since.
    if os.path.exists(paths.exit_before) and not os.path.exists(paths.exit):
        os.rename(paths.exit_before, paths.exit)


def _take_back(paths: Paths) -> None:
    """Undo what was made for a start, and remove its run directory."""
    problems = undo.replay(paths.run)
    if problems:
        raise errors.Unavailable(f"undo of {paths.run}: {problems[0]}")
    shutil.rmtree(paths.run, ignore_errors=True)
