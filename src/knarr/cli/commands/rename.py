"""``knarr rename``: another name for a container."""

from __future__ import annotations

from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import Args
from knarr.errors import InvalidArgument


def run(context: Context, args: Args) -> int:
    """Print nothing, as Docker does."""
    old, new = args.rest
    if not old or not new:
        raise InvalidArgument("Neither old nor new names may be empty")
    context.engine.containers.get(old).rename(new)
    return 0


COMMAND = Command(
    name="rename",
    summary="Rename a container",
    usage=("CONTAINER NEW_NAME",),
    run=run,
    examples=(("knarr rename web old-web", "Give a container another name"),),
    arguments=(2, 2),
    spellings=("container rename",),
)
