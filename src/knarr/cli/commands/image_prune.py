"""``knarr image prune``: remove images that nothing uses."""

from __future__ import annotations

from knarr.cli import confirm, filterargs, human, pruning
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag

_DANGLING = "This will remove all dangling images."
_UNUSED = "This will remove all images without at least one container associated to them."


def run(context: Context, args: Args) -> int:
    """Ask, then print what was removed and how much came free."""
    everything = args.on("all")
    if not args.on("force") and not confirm.confirmed(_UNUSED if everything else _DANGLING):
        return 0
    filters = filterargs.by_name(args.many("filter"))
    freed = pruning.images(context.engine, filters, everything=everything)
    print(f"Total reclaimed space: {human.size(freed)}")
    return 0


COMMAND = Command(
    name="image prune",
    summary="Remove unused images",
    usage=("[OPTIONS]",),
    run=run,
    examples=(
        ("knarr image prune",
         "Ask, then remove images without a name"),
        ("knarr image prune -af --filter until=168h",
         "Remove all that no container uses and that are older than a week"),
    ),
    flags=(
        Flag("all", SWITCH, "Remove all images that no container uses, not only those without a "
             "name", short="a", example="-a"),
        Flag("filter", filterargs.FILTERS, "Only images for which a condition holds: dangling, "
             "label, label!, until", example="--filter until=24h"),
        Flag("force", SWITCH, "Do not ask", short="f", example="-f"),
    ),
)  # fmt: skip
