"""``knarr pause``: freeze containers."""

from __future__ import annotations

from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.each import for_each
from knarr.cli.flags import Args


def run(context: Context, args: Args) -> int:
    """Print the names of the containers that are paused."""

    def pause(name: str) -> None:
        context.engine.containers.get(name).pause()
        print(name)

    return for_each(args.rest, pause)


COMMAND = Command(
    name="pause",
    summary="Pause all processes within one or more containers",
    usage=("CONTAINER [CONTAINER...]",),
    run=run,
    examples=(("knarr pause web", "Freeze all processes of a container"),),
    arguments=(1, MANY),
    spellings=("container pause",),
)
