"""``knarr unpause``: let paused containers go on."""

from __future__ import annotations

from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.each import for_each
from knarr.cli.flags import Args


def run(context: Context, args: Args) -> int:
    """Print the names of the containers that are unpaused."""

    def unpause(name: str) -> None:
        context.engine.containers.get(name).unpause()
        print(name)

    return for_each(args.rest, unpause)


COMMAND = Command(
    name="unpause",
    summary="Unpause all processes within one or more containers",
    usage=("CONTAINER [CONTAINER...]",),
    run=run,
    examples=(("knarr unpause web", "Let the processes of a container go on"),),
    arguments=(1, MANY),
    spellings=("container unpause",),
)
