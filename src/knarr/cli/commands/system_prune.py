"""``knarr system prune``: remove containers that do not run, and what nothing uses."""

from __future__ import annotations

from knarr.cli import confirm, filterargs, human, pruning
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag
from knarr.errors import InvalidArgument

_TOLD = ("label", "label!", "until")


def run(context: Context, args: Args) -> int:
    """Ask, then print what was removed and how much came free."""
    filters = filterargs.by_name(args.many("filter"))
    if args.on("volumes") and "until" in filters:
        raise InvalidArgument('The "until" filter is not supported with "--volumes"')
    if not args.on("force") and not confirm.asked(_question(args, filters)):
        return 0
    freed = pruning.containers(context.engine, filters)
    pruning.networks(context.engine, filters)
    freed += pruning.images(context.engine, filters, everything=args.on("all"))
    print(f"Total reclaimed space: {human.size(freed)}")
    return 0


def _question(args: Args, filters: dict[str, list[str]]) -> str:
    """Return what is going to happen, in Docker's words."""
    what = ["all stopped containers", "all networks not used by at least one container"]
    if args.on("all"):
        what.append("all images without at least one container associated to them")
    else:
        what.append("all dangling images")
    text = "WARNING! This will remove:\n" + "".join(f"  - {each}\n" for each in what) + "\n"
    told = sorted(f"{name}={value}" for name in _TOLD for value in filters.get(name, ()))
    if told:
        text += "  Items to be pruned will be filtered with:\n"
        text += "".join(f"  - {each}\n" for each in told) + "\n"
    return text + "Are you sure you want to continue?"


COMMAND = Command(
    name="system prune",
    summary="Remove unused data",
    usage=("[OPTIONS]",),
    run=run,
    examples=(
        ("knarr system prune",
         "Ask, then remove stopped containers, unused networks and images without a name"),
        ("knarr system prune -af --filter until=24h",
         "Remove what is older than a day and unused"),
    ),
    flags=(
        Flag("all", SWITCH, "Remove all images that no container uses, not only those without a "
             "name", short="a", example="-a"),
        Flag("filter", filterargs.FILTERS, "Only what a condition holds for: label, label!, until",
             example="--filter until=24h"),
        Flag("force", SWITCH, "Do not ask", short="f", example="-f"),
        Flag("volumes", SWITCH, "Remove anonymous volumes too; knarr makes none yet, so nothing "
             "is left with or without it", example="--volumes"),
    ),
    details="""\
Containers that do not run are removed, then networks that no container is on, then images: those
without a name, or with -a all that no container uses. An interrupt ends it once what is being
removed is gone as a whole.""",
)  # fmt: skip
