"""``knarr export``: a container's file system as a tar."""

from __future__ import annotations

from knarr.cli import binary
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import TEXT, Args, Flag


def run(context: Context, args: Args) -> int:
    """Write the tar to a file or to stdout."""
    container = context.engine.containers.get(args.rest[0])
    with binary.output(args.text("output"), "export") as stream:
        binary.pour(container.export(), stream)
    return 0


COMMAND = Command(
    name="export",
    summary="Export a container's file system as a tar archive",
    usage=("[OPTIONS] CONTAINER",),
    run=run,
    examples=(
        ("knarr export -o web.tar web",
         "Write the files of a container to a tar"),
        ("knarr export web | tar t",
         "List them"),
    ),
    flags=(
        Flag("output", TEXT, "Write to this file instead of STDOUT", short="o",
             example="-o rootfs.tar"),
    ),
    arguments=(1, 1),
    spellings=("container export",),
)  # fmt: skip
