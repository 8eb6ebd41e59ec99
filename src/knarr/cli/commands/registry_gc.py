"""``knarr registry gc``: what nobody refers to any more leaves a registry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from knarr.cli import human
from knarr.cli.command import Command
from knarr.cli.commands.registry_serve import ROOT, root_of
from knarr.cli.context import Context
from knarr.cli.flags import DURATION, LIST, NUMBER, SWITCH, Args, Flag
from knarr.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from knarr.registryd.garbage import Retention

_SECOND = 1_000_000_000


def run(context: Context, args: Args) -> int:
    """Print what was deleted, and how much room that makes."""
    from knarr.registryd import garbage, shelf

    root = root_of(context, args)
    if not os.path.exists(f"{root}/registry.db"):
        raise NotFound(f"registry {root}: there is none")
    grace = args.number("grace")
    if grace is not None and grace < 0:
        raise InvalidArgument("--grace: a time that is not negative")
    retention = _retention(args)
    opened = shelf.open_shelf(root)
    try:
        found = garbage.collect(
            opened,
            grace=garbage.GRACE if grace is None else grace / _SECOND,
            untagged=args.on("untagged"),
            retention=retention,
            dry_run=args.on("dry-run"),
        )
    finally:
        opened.close()
    done = "Would delete" if args.on("dry-run") else "Deleted"
    if not args.on("quiet"):
        for repository, tag in found.tags:
            print(f"{done} tag: {repository}:{tag}")
        for repository, digest in found.manifests:
            print(f"{done} manifest: {repository}@{digest}")
        for blob in found.files:
            print(f"{done}: {blob.digest} ({human.size(blob.size)})")
    free = "Space to reclaim" if args.on("dry-run") else "Total reclaimed space"
    print(f"{free}: {human.size(found.size)}")
    return 0


def _retention(args: Args) -> Retention | None:
    from knarr.registryd.garbage import Retention

    last = args.number("keep-last")
    spared = args.many("keep-tag")
    if last is None:
        if spared:
            raise InvalidArgument("--keep-tag makes exceptions of --keep-last")
        return None
    if last < 0:
        raise InvalidArgument("--keep-last: a number of tags that is not negative")
    return Retention(last, spared)


COMMAND = Command(
    name="registry gc",
    summary="Delete what nothing in a registry refers to",
    usage=("[OPTIONS]",),
    run=run,
    examples=(
        ("knarr registry gc --dry-run", "Show what would be deleted"),
        ("knarr registry gc --untagged", "Delete it, and manifests that have no tag"),
        ("knarr registry gc --keep-last 10 --keep-tag 'v*' --keep-tag latest",
         "Keep the last ten tags of each repository, and those of releases"),
    ),
    flags=(
        Flag("dry-run", SWITCH, "Delete nothing, only show what would be", example="--dry-run"),
        Flag("grace", DURATION, "Leave what was pushed or asked for in the last so long (default "
             "1h)", example="--grace 24h"),
        Flag("keep-last", NUMBER, "Delete all tags but the last so many that were pushed to each "
             "repository, and then manifests without a tag", example="--keep-last 10"),
        Flag("keep-tag", LIST, "Tags of a pattern, or REPOSITORY:TAG, stay and do not count",
             metavar="pattern", example="--keep-last 10 --keep-tag 'v*'"),
        Flag("quiet", SWITCH, "Show only the sum", short="q", example="-q"),
        ROOT,
        Flag("untagged", SWITCH, "Delete manifests without a tag as well, unless an index, or what "
             "they are about, keeps them", example="--untagged"),
    ),
    arguments=(0, 0),
    details="""\
It may run while the registry serves. A push that was told that the registry has
a blob already has as long as the grace to push the manifest that needs it; with
a shorter one it may have to push the blob again.""",
)  # fmt: skip
