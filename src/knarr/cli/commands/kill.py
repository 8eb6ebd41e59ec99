"""``knarr kill``: send a signal to containers."""

from __future__ import annotations

from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.each import for_each
from knarr.cli.flags import TEXT, Args, Flag


def run(context: Context, args: Args) -> int:
    """Print the names of the containers that got the signal."""
    signal = args.text("signal") or "KILL"

    def kill(name: str) -> None:
        context.engine.containers.get(name).kill(signal)
        print(name)

    return for_each(args.rest, kill)


COMMAND = Command(
    name="kill",
    summary="Kill one or more running containers",
    usage=("[OPTIONS] CONTAINER [CONTAINER...]",),
    run=run,
    examples=(
        ("knarr kill web",
         "Kill the first process of a container"),
        ("knarr kill -s HUP web",
         "Send it another signal"),
    ),
    flags=(
        Flag("signal", TEXT, "Signal to send, by name or number", short="s", default="KILL",
             example="-s SIGHUP"),
    ),
    arguments=(1, MANY),
    spellings=("container kill",),
)  # fmt: skip
