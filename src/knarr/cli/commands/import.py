"""``knarr import``: an image of one layer from a tar of a file system."""  # noqa: N999 - the verb is a keyword

from __future__ import annotations

import contextlib

from knarr.cli import binary
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import LIST, TEXT, Args, Flag
from knarr.cli.progress import Progress
from knarr.errors import Unsupported


def run(context: Context, args: Args) -> int:
    """Print the id of the new image."""
    source = args.rest[0]
    ref = args.rest[1] if len(args.rest) > 1 else None
    if source.startswith(("http://", "https://")):
        raise Unsupported(f"import {source}: download it first; knarr imports files and STDIN")
    with Progress() as progress, contextlib.ExitStack() as stack:
        file = stack.enter_context(binary.stdin("import")) if source == "-" else source
        image = context.engine.images.import_(
            file,
            ref,
            changes=args.many("change"),
            message=args.text("message") or "",
            platform=args.text("platform"),
            progress=progress,
        )
    print(image.id)
    return 0


COMMAND = Command(
    name="import",
    summary="Make an image from a tar of a file system",
    usage=("[OPTIONS] file|- [REPOSITORY[:TAG]]",),
    run=run,
    examples=(
        ("knarr import root.tar.gz base:1",
         "Make an image of a tar of files"),
        ("knarr export web | knarr import -c 'CMD [\"sh\"]' - flat",
         "Make one of a container's files, in a single layer"),
    ),
    flags=(
        Flag("change", LIST, "Apply a Dockerfile instruction to the image", short="c",
             example="-c 'CMD [\"/bin/sh\"]'"),
        Flag("message", TEXT, "Set a message for the image's history", short="m",
             example="-m 'base system'"),
        Flag("platform", TEXT, "Platform the file system is for", example="--platform linux/arm64"),
    ),
    arguments=(1, 2),
    spellings=("image import",),
)  # fmt: skip
