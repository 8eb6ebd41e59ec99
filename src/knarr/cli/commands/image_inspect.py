"""``knarr image inspect``: everything about images as JSON."""

from __future__ import annotations

from knarr.cli import inspecting
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import TEXT, Args, Flag


def run(context: Context, args: Args) -> int:
    """Print the images."""
    return inspecting.show(
        context, args.rest, "image", args.text("format"), platform=args.text("platform")
    )


COMMAND = Command(
    name="image inspect",
    summary="Show everything about one or more images as JSON",
    usage=("[OPTIONS] IMAGE [IMAGE...]",),
    run=run,
    examples=(
        ("knarr image inspect busybox",
         "Show everything about an image as JSON"),
        ("knarr image inspect -f '{{.Config.Cmd}}' busybox",
         "Show what it runs"),
    ),
    flags=(
        inspecting.FORMAT,
        Flag("platform", TEXT, "Show this platform of an image that has several",
             example="--platform linux/arm64"),
    ),
    arguments=(1, MANY),
)  # fmt: skip
