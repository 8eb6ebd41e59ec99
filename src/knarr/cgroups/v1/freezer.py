"""Stopping and resuming all processes of a group: freezer.state.

Kernel Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst.
"""

import errno
import time

from knarr.cgroups import files, processes

FROZEN = "freezer.self_freezing"  # has 1 while the group itself is frozen


def freeze(directory: str, timeout: float = 10.0) -> None:
    """Freeze a group and all below it; returns when every task stands still.

    The kernel freezes when it is asked and once more with each look at the state: a
    task that was between two states is caught by the next. Raises TimeoutError, with
    the group thawed again, when one does not come to a halt in time.
    """
    path = f"{directory}/freezer.state"
    deadline = time.monotonic() + timeout
    files.write(path, "FROZEN")
    while files.read(path).strip() != "FROZEN":
        if time.monotonic() > deadline:
            thaw(directory)
            raise TimeoutError(errno.ETIMEDOUT, "processes do not freeze", directory)
        time.sleep(processes.PAUSE)
        # A process that entered meanwhile from outside is not frozen by looking.
        files.write(path, "FROZEN")


def thaw(directory: str) -> None:
    """Let a group run again."""
    files.write(f"{directory}/freezer.state", "THAWED")


def frozen(directory: str) -> bool:
    """Return whether the group itself was frozen (not through a parent)."""
    return files.read_int(f"{directory}/{FROZEN}") == 1
