"""Which errors are right where: refusals of a container that others use, and deaths on the way."""

from __future__ import annotations

# What may be said of a container to which somebody else has just done something.
REFUSALS = (
    r"No such (container|object)",
    r"is already in use by container",
    r"is not running",
    r"is not paused",
    r"is already paused",
    r"is paused, unpause the container before exec",
    r"is restarting, wait until the container is running",
    r"cannot start a paused container",
    r"cannot remove container",
    r"is being removed",
    r"marked for removal",
    r"Cannot update container \w+: ",
    r"Renaming a container with the same name",
    r"You cannot attach to a",
    r"you cannot start and attach",
    r"Could not find the file",
)

# What an order may say when a process of knarr's that worked for it was killed with -9.
INTERRUPTED = (
    r"supervisor was killed",
    r"the process that was making the container was killed",
    r"a process of knarr that was at work for it was killed",
    r"the process ended before it was ready",
    r"launcher",
    r"the worker of the command server died before the command ended",
)
