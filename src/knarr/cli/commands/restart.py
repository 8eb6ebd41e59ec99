"""``knarr restart``: stop containers and start them again, one after the other."""

from __future__ import annotations

from knarr.cli import stopping
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.each import for_each
from knarr.cli.flags import Args


def run(context: Context, args: Args) -> int:
    """Print the names of the containers that run again."""

    def restart(name: str) -> None:
        container = context.engine.containers.get(name)
        container.restart(args.number("timeout"), args.text("signal"))
        print(name)

    return for_each(args.rest, restart)


COMMAND = Command(
    name="restart",
    summary="Restart one or more containers",
    usage=("[OPTIONS] CONTAINER [CONTAINER...]",),
    run=run,
    examples=(
        ("knarr restart web",
         "Stop a container and start it again"),
        ("knarr restart -t 30 db web",
         "Give each 30 seconds to stop, one after the other"),
    ),
    flags=stopping.FLAGS,
    arguments=(1, MANY),
    spellings=("container restart",),
    details="The containers are restarted in the order in which they are named, each when the one "
    "before it runs again. One that does not run is started.",
)  # fmt: skip
