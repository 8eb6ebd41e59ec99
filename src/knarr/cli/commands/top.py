"""``knarr top``: the processes of a container."""

from __future__ import annotations

from knarr.cli import human, listing
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import Args

_NARROWEST = 20  # Docker's


def run(context: Context, args: Args) -> int:
    """Print a table of the processes."""
    name, *options = args.rest
    found = context.engine.containers.get(name).top(options)
    rows = [[human.visible(cell) for cell in row] for row in (found.titles, *found.processes)]
    print(listing.align(rows, _NARROWEST), end="")
    return 0


COMMAND = Command(
    name="top",
    summary="Display the running processes of a container",
    usage=("CONTAINER [ps OPTIONS]",),
    run=run,
    examples=(
        ("knarr top web", "List the processes of a container"),
        ("knarr top web -eo pid,comm,rss", "List them as ps(1) does with these options"),
    ),
    arguments=(1, MANY),
    stops_early=True,
    spellings=("container top",),
    details="The options are those of ps(1) on this machine (default -ef), and so are the process "
    "ids. What runs in the container by exec is shown too.",
)
