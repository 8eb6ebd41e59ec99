"""``knarr commit``: an image from a container's changes."""

from __future__ import annotations

from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import LIST, SWITCH, TEXT, Args, Flag


def run(context: Context, args: Args) -> int:
    """Print the id of the new image."""
    image = context.engine.containers.get(args.rest[0]).commit(
        args.rest[1] if len(args.rest) > 1 and args.rest[1] else None,
        author=args.text("author") or "",
        message=args.text("message") or "",
        changes=args.many("change"),
        pause=args.on("pause"),
    )
    print(image.id)
    return 0


COMMAND = Command(
    name="commit",
    summary="Create a new image from a container's changes",
    usage=("[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",),
    run=run,
    examples=(
        ("knarr commit web shop/web:2",
         "Make an image of what a container has changed"),
        ("knarr commit -m 'add curl' -c 'CMD [\"curl\", \"-V\"]' web curl",
         "Also say why, and what containers of it run"),
    ),
    flags=(
        Flag("author", TEXT, "Author of the image", short="a",
             example="-a 'John Hannibal Smith <hannibal@a-team.com>'"),
        Flag("change", LIST, "Apply a Dockerfile instruction to the image", short="c",
             example="-c 'CMD [\"/bin/sh\"]'"),
        Flag("message", TEXT, "Commit message", short="m", example="-m 'with the tools'"),
        Flag("pause", SWITCH, "Pause the container during commit", short="p", default=True,
             example="-p=false"),
    ),
    arguments=(1, 2),
    stops_early=True,
    spellings=("container commit",),
    details="What is mounted in the container is not in the image.",
)  # fmt: skip
