"""``knarr rm``: remove containers."""

from __future__ import annotations

import sys

from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.each import for_each
from knarr.cli.flags import SWITCH, Args, Flag
from knarr.errors import NotFound


def run(context: Context, args: Args) -> int:
    """Print the names of the removed containers."""
    force = args.on("force")

    def remove(name: str) -> None:
        try:
            context.engine.containers.get(name).remove(force=force)
        except NotFound as error:
            if not force:
                raise
            print(f"Error: {error}", file=sys.stderr)  # told, but no failure
            return
        print(name)

    return for_each(args.rest, remove)


COMMAND = Command(
    name="rm",
    summary="Remove one or more containers",
    usage=("[OPTIONS] CONTAINER [CONTAINER...]",),
    run=run,
    examples=(
        ("knarr rm web",
         "Remove a container that does not run"),
        ("knarr rm -f web",
         "Kill it first"),
    ),
    flags=(
        Flag("force", SWITCH, "Kill a running container first", short="f", example="-f"),
        Flag("volumes", SWITCH, "Remove the container's anonymous volumes too; knarr makes none "
             "yet, so nothing is left with or without it", short="v", example="-fv"),
    ),
    arguments=(1, MANY),
    missing={"link": "links are gone from Docker", "l": "links are gone from Docker"},
    spellings=("container rm", "container remove"),
)  # fmt: skip
