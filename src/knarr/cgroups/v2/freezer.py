"""Stopping and resuming all processes of a group: cgroup.freeze, cgroup.events."""

import errno

from knarr.cgroups import files, processes

FROZEN = "cgroup.freeze"  # has 1 while the group itself is frozen


def freeze(directory: str, timeout: float = 10.0) -> None:
    """Freeze a group and all below it; returns when every process stands still.

    Raises TimeoutError, with the group thawed again, when a process does not come to a
    halt in time, OSError when the group is gone.
    """
    files.write(f"{directory}/{FROZEN}", "1")
    if not processes.wait_event(directory, "frozen", 1, timeout):
        thaw(directory)
        raise TimeoutError(errno.ETIMEDOUT, "processes do not freeze", directory)


def thaw(directory: str) -> None:
    """Let a group run again."""
    files.write(f"{directory}/{FROZEN}", "0")


def frozen(directory: str) -> bool:
    """Return whether the group was frozen (itself, not through a parent)."""
    return files.read_int(f"{directory}/{FROZEN}") == 1
