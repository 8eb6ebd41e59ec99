"""``knarr image prune``: remove images that nothing uses."""

from __future__ import annotations

from knarr.cli import confirm, filterargs, human, pruning
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import NUMBER, SWITCH, TEXT, Args, Flag
from knarr.errors import InvalidArgument

_DANGLING = "This will remove all dangling images."
_UNUSED = "This will remove all images without at least one container associated to them."


def run(context: Context, args: Args) -> int:
    """Ask, then print what was removed and how much came free."""
    from knarr.images import times

    keep_last, age = args.number("keep-last"), args.text("unused-for")
    if keep_last is not None and keep_last < 0:
        raise InvalidArgument(f"--keep-last {keep_last}: give 0 or more")
    unused_for = None if age is None else times.age(age)
    dry_run = args.on("dry-run")
    if not dry_run and not args.on("force") and not confirm.confirmed(_question(args)):
        return 0
    freed = pruning.images(
        context.engine,
        filterargs.by_name(args.many("filter")),
        everything=args.on("all"),
        keep_last=keep_last,
        unused_for=unused_for,
        dry_run=dry_run,
    )
    words = "Space that would be reclaimed" if dry_run else "Total reclaimed space"
    print(f"{words}: {human.size(freed)}")
    return 0


def _question(args: Args) -> str:
    keep_last, age = args.number("keep-last"), args.text("unused-for")
    if keep_last is None and age is None:
        return _UNUSED if args.on("all") else _DANGLING
    kept = []
    if keep_last is not None:
        kept.append(f"the {keep_last} newest of each repository")
    if age is not None:
        kept.append(f"those used in the last {age}")
    return f"{_UNUSED[:-1]}, but for {' and '.join(kept)}."


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
        ("knarr image prune --keep-last 3 --unused-for 7d --dry-run",
         "Tell what would go if the newest of each repository and what was used of late stay"),
    ),
    flags=(
        Flag("all", SWITCH, "Remove all images that no container uses, not only those without a "
             "name", short="a", example="-a"),
        Flag("dry-run", SWITCH, "Only tell what would be removed, and how much that frees",
             example="--dry-run"),
        Flag("filter", filterargs.FILTERS, "Only images for which a condition holds: dangling, "
             "label, label!, until", example="--filter until=24h"),
        Flag("force", SWITCH, "Do not ask", short="f", example="-f"),
        Flag("keep-last", NUMBER, "Keep so many images of each repository, the newest, and remove "
             "the others that no container uses", example="--keep-last 3"),
        Flag("unused-for", TEXT, "Remove what no container used for so long (36h, 7d, 2w), and "
             "keep what came in since", metavar="age", example="--unused-for 7d"),
    ),
    details="""\
--keep-last and --unused-for count for images with names, as with -a. An image goes only if
each of these lets it go, and each filter. An image is used as long as there is a container of
it; after that, the time counts when the last of them was removed, or when the image came in or
was given a name. Images of a repository are in the order in which they were made, then in
that in which they came here. Pulls that run meanwhile lose nothing; what interrupted ones had
brought in goes.""",
)  # fmt: skip
