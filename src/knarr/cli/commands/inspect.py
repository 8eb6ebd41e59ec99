"""``knarr inspect``: everything about containers, images and networks as JSON."""

from __future__ import annotations

from knarr.cli import inspecting
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import TEXT, Args, Flag


def run(context: Context, args: Args) -> int:
    """Print the objects of the names; a container goes before an image of the same name."""
    return inspecting.show(
        context,
        args.rest,
        args.text("type") or "",
        args.text("format"),
        size=args.on("size"),
    )


COMMAND = Command(
    name="inspect",
    summary="Show everything about containers, images and networks as JSON",
    usage=("[OPTIONS] NAME|ID [NAME|ID...]",),
    run=run,
    examples=(
        ("knarr inspect web",
         "Show everything about a container, image or network as JSON"),
        ("knarr inspect -f '{{.State.Pid}}' web",
         "Show one thing of it"),
        ("knarr inspect --type image busybox",
         "Look for an image only"),
    ),
    flags=(
        inspecting.FORMAT,
        inspecting.SIZE,
        Flag("type", TEXT, "Only objects of this type: container, image or network",
             example="--type image"),
    ),
    arguments=(1, MANY),
)  # fmt: skip
