"""``knarr container prune``: remove all containers that do not run."""

from __future__ import annotations

from knarr.cli import confirm, filterargs, human, pruning
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag


def run(context: Context, args: Args) -> int:
    """Ask, then print the ids of what was removed and how much came free."""
    if not args.on("force") and not confirm.confirmed("This will remove all stopped containers."):
        return 0
    freed = pruning.containers(context.engine, filterargs.by_name(args.many("filter")))
    print(f"Total reclaimed space: {human.size(freed)}")
    return 0


COMMAND = Command(
    name="container prune",
    summary="Remove all stopped containers",
    usage=("[OPTIONS]",),
    run=run,
    examples=(
        ("knarr container prune",
         "Ask, then remove all containers that do not run"),
        ("knarr container prune -f --filter until=24h --filter label!=keep",
         "Remove those made more than a day ago, but for those with a label"),
    ),
    flags=(
        Flag("filter", filterargs.FILTERS, "Only containers for which a condition holds: label, "
             "label!, until", example="--filter until=24h"),
        Flag("force", SWITCH, "Do not ask", short="f", example="-f"),
    ),
)  # fmt: skip
