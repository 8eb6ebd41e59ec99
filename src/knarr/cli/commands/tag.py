"""``knarr tag``: give an image another name."""

from __future__ import annotations

from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import Args


def run(context: Context, args: Args) -> int:
    """Print nothing."""
    context.engine.images.tag(args.rest[0], args.rest[1])
    return 0


COMMAND = Command(
    name="tag",
    summary="Give an image another name",
    usage=("SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",),
    run=run,
    examples=(("knarr tag busybox tools/box:1", "Give an image a further name"),),
    arguments=(2, 2),
    spellings=("image tag",),
)
