"""``knarr diff``: what a container changed in its image's file system."""

from __future__ import annotations

from knarr.cli import human
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import Args


def run(context: Context, args: Args) -> int:
    """Print a line for each path: A added, C changed, D deleted."""
    for change in context.engine.containers.get(args.rest[0]).diff():
        print(change.kind, human.visible(change.path))
    return 0


COMMAND = Command(
    name="diff",
    summary="Inspect changes to files or directories on a container's filesystem",
    usage=("CONTAINER",),
    run=run,
    examples=(
        ("knarr diff web", "List what a container has added (A), changed (C) and deleted (D)"),
    ),
    arguments=(1, 1),
    spellings=("container diff",),
    details="Each line has A (added), C (changed) or D (deleted) and a path. What is mounted in "
    "the container is not its change.",
)
