"""``knarr container inspect``: everything about containers as JSON."""

from __future__ import annotations

from knarr.cli import inspecting
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import Args


def run(context: Context, args: Args) -> int:
    """Print the containers."""
    size = args.on("size")
    return inspecting.show(context, args.rest, "container", args.text("format"), size=size)


COMMAND = Command(
    name="container inspect",
    summary="Show everything about one or more containers as JSON",
    usage=("[OPTIONS] CONTAINER [CONTAINER...]",),
    run=run,
    examples=(
        ("knarr container inspect web", "Show everything about a container as JSON"),
        ("knarr container inspect -f '{{.State.Status}}' web", "Show one thing of it"),
    ),
    flags=(inspecting.FORMAT, inspecting.SIZE),
    arguments=(1, MANY),
)
