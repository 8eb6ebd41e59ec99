"""``knarr network rm``: remove networks."""

from __future__ import annotations

from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.each import for_each
from knarr.cli.flags import SWITCH, Args, Flag
from knarr.errors import NotFound


def run(context: Context, args: Args) -> int:
    """Print the names of the removed networks."""

    def remove(name: str) -> None:
        try:
            context.engine.networks.remove(name)
        except NotFound:
            if not args.on("force"):
                raise
            return
        print(name)

    return for_each(args.rest, remove)


COMMAND = Command(
    name="network rm",
    summary="Remove one or more networks",
    usage=("NETWORK [NETWORK...]",),
    run=run,
    examples=(
        ("knarr network rm front",
         "Remove a network that no running container is on"),
        ("knarr network rm -f front back",
         "Take it for no error when one is gone already"),
    ),
    flags=(
        Flag("force", SWITCH, "A network that there is not is no error", short="f", example="-f"),
    ),
    arguments=(1, MANY),
    spellings=("network remove",),
)  # fmt: skip
