"""``knarr manifest create``: a list of manifests, to be annotated and pushed."""

from __future__ import annotations

from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag


def run(context: Context, args: Args) -> int:
    """Print the name of the list."""
    target, *members = args.rest
    reference = context.engine.images.lists.create(
        target, members, amend=args.on("amend"), insecure=args.on("insecure")
    )
    print(f"Created manifest list {reference}")
    return 0


COMMAND = Command(
    name="manifest create",
    summary="Create a local manifest list for annotating and pushing to a registry",
    usage=("[OPTIONS] MANIFEST_LIST MANIFEST [MANIFEST...]",),
    run=run,
    examples=(
        (("knarr manifest create ghcr.io/example/app:1 ghcr.io/example/app:1-amd64 "
         "ghcr.io/example/app:1-arm64"),
         "Make one image for two platforms of two that are in the registry"),
    ),
    flags=(
        Flag("amend", SWITCH, "Amend an existing manifest list", short="a", example="-a"),
        Flag("insecure", SWITCH, "Allow communication with an insecure registry",
             example="--insecure"),
    ),
    arguments=(2, MANY),
)  # fmt: skip
