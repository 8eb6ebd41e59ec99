"""``knarr load``: images from an archive."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from knarr.cli import binary, human
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, TEXT, Args, Flag, UsageError
from knarr.cli.progress import Progress

if TYPE_CHECKING:
    from knarr.images.archive.load import LoadResult


def run(context: Context, args: Args) -> int:
    """Print the names of the loaded images, or the ids of those without a name."""
    if args.rest:  # podman takes it so
        raise UsageError(
            f"knarr: 'knarr load' accepts no arguments: name a file with -i {args.rest[0]}",
            exit_code=1,
        )
    images = context.engine.images
    path, platform = args.text("input"), args.text("platform")
    with Progress(quiet=args.on("quiet")) as progress, contextlib.ExitStack() as stack:
        source = path if path and path != "-" else stack.enter_context(binary.stdin("load"))
        result = images.load(source, platform=platform, progress=progress)
    _report(result)
    return 0


def _report(result: LoadResult) -> None:
    for warning in result.warnings:
        print(f"WARNING: {human.visible(warning)}", file=sys.stderr)
    for name, image_id in result.replaced:
        print(f"The image {name} already exists; the old one, {image_id}, has no name now")
    for image in result.images:
        for name in image.names:
            print(f"Loaded image: {name}")
        if not image.names:
            print(f"Loaded image ID: {image.id}")


COMMAND = Command(
    name="load",
    summary="Load images from a docker-archive or OCI layout, tar or directory",
    usage=("[OPTIONS]",),
    run=run,
    examples=(
        ("knarr load -i images.tar",
         "Load the images of an archive"),
        ("ssh host knarr save busybox | knarr load",
         "Load those of another machine"),
    ),
    flags=(
        Flag("input", TEXT, "Read from this file or directory instead of STDIN", short="i",
             example="-i busybox.tar"),
        Flag("platform", TEXT, "Load only this platform of an image that has several",
             example="--platform linux/arm64"),
        Flag("quiet", SWITCH, "Show no progress", short="q", example="-q"),
    ),
    arguments=(0, MANY),
    spellings=("image load",),
)  # fmt: skip
