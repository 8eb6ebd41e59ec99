"""``knarr network prune``: remove networks that no container uses."""

from __future__ import annotations

from knarr.cli import confirm, filterargs, pruning
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag

_WARNING = "This will remove all custom networks not used by at least one container."


def run(context: Context, args: Args) -> int:
    """Ask, then print the names of what was removed."""
    if not args.on("force") and not confirm.confirmed(_WARNING):
        return 0
    pruning.networks(context.engine, filterargs.by_name(args.many("filter")))
    return 0


COMMAND = Command(
    name="network prune",
    summary="Remove all unused networks",
    usage=("[OPTIONS]",),
    run=run,
    examples=(
        ("knarr network prune",
         "Ask, then remove all networks that no running container is on"),
        ("knarr network prune -f --filter until=24h",
         "Remove those made more than a day ago"),
    ),
    flags=(
        Flag("filter", filterargs.FILTERS, "Only networks for which a condition holds: label, "
             "label!, until", example="--filter until=24h"),
        Flag("force", SWITCH, "Do not ask", short="f", example="-f"),
    ),
)  # fmt: skip
