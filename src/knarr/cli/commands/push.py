"""``knarr push``: an image to a registry."""

from __future__ import annotations

from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, TEXT, Args, Flag
from knarr.cli.layerlines import LayerLines


def run(context: Context, args: Args) -> int:
    """Print each layer's way, and the digest that the registry knows the image by."""
    name, all_tags = args.rest[0], args.on("all-tags")
    lines = LayerLines(quiet=args.on("quiet"))
    reference = lines.reference(name, all_tags=all_tags)
    context.engine.images.push(
        name, platform=args.text("platform"), all_tags=all_tags, progress=lines
    )
    if args.on("quiet"):
        print(reference)
    return 0


COMMAND = Command(
    name="push",
    summary="Upload an image to a registry",
    usage=("[OPTIONS] NAME[:TAG]",),
    run=run,
    examples=(
        ("knarr push localhost:5000/team/app:1.2",
         "Upload an image to a registry of this machine"),
        ("knarr push -a ghcr.io/example/app",
         "Upload all tags of a repository"),
    ),
    flags=(
        Flag("all-tags", SWITCH, "Push all tags of an image to the repository", short="a",
             example="-a"),
        Flag("platform", TEXT, "Push one platform of an image that has several, by its own "
             "manifest", example="--platform linux/arm64"),
        Flag("quiet", SWITCH, "Print only the name of the image", short="q", example="-q"),
    ),
    arguments=(1, 1),
    spellings=("image push",),
    details="""\
The name says where: 'knarr tag app ghcr.io/example/app' first, and 'knarr login ghcr.io' once.""",
)  # fmt: skip
