"""``knarr rmi``: remove images, or names of images."""

from __future__ import annotations

import sys

from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.each import for_each
from knarr.cli.flags import SWITCH, TEXT, Args, Flag
from knarr.errors import NotFound, PlatformNotFound


def run(context: Context, args: Args) -> int:
    """Print what was untagged and deleted."""
    force, platform = args.on("force"), args.text("platform")

    def remove(name: str) -> None:
        try:
            actions = context.engine.images.remove(
                name, force=force, no_prune=args.on("no-prune"), platform=platform
            )
        except PlatformNotFound:
            raise
        except NotFound:
            if not force:
                raise NotFound(f"No such image: {name}") from None
            print(f"Error: No such image: {name}", file=sys.stderr)
            return
        for action, what in actions:
            print(f"{action}: {what}")

    return for_each(args.rest, remove)


COMMAND = Command(
    name="rmi",
    summary="Remove one or more images",
    usage=("[OPTIONS] IMAGE [IMAGE...]",),
    run=run,
    examples=(
        ("knarr rmi busybox",
         "Remove the name of an image, and the image with its last name"),
        ("knarr rmi -f 6d1ef012b567",
         "Remove an image with all its names"),
    ),
    flags=(
        Flag("force", SWITCH, "Remove an image that has several names or a stopped container",
             short="f", example="-f"),
        Flag("no-prune", SWITCH, "Keep layers and blobs until the next 'image prune'",
             example="--no-prune"),
        Flag("platform", TEXT, "Remove only this platform of an image that has several",
             example="--platform linux/arm64"),
    ),
    arguments=(1, MANY),
    spellings=("image rm", "image remove"),
)  # fmt: skip
