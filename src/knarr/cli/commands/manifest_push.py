"""``knarr manifest push``: a list to its registry."""

from __future__ import annotations

from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag


def run(context: Context, args: Args) -> int:
    """Print what was put beside the list, and the digest of the list."""
    digest, moved = context.engine.images.lists.push(
        args.rest[0], purge=args.on("purge"), insecure=args.on("insecure")
    )
    for reference in moved:
        print(f"Pushed ref {reference} with digest: {reference.digest}")
    print(digest)
    return 0


COMMAND = Command(
    name="manifest push",
    summary="Push a manifest list to a repository",
    usage=("[OPTIONS] MANIFEST_LIST",),
    run=run,
    examples=(
        ("knarr manifest push -p ghcr.io/example/app:1",
         "Push a list, and forget it here"),
    ),
    flags=(
        Flag("insecure", SWITCH, "Allow push to an insecure registry", example="--insecure"),
        Flag("purge", SWITCH, "Remove the local manifest list after push", short="p",
             example="-p"),
    ),
    arguments=(1, 1),
)  # fmt: skip
