"""``knarr bootstrap``: base images made from Debian's packages, without a registry."""

from __future__ import annotations

from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.each import for_each
from knarr.cli.flags import LIST, SWITCH, TEXT, Args, Flag
from knarr.cli.progress import Progress
from knarr.errors import InvalidArgument


def run(context: Context, args: Args) -> int:
    """Print name and id of each image made."""
    tag = args.text("tag")
    if tag is not None and len(args.rest) > 1:
        raise InvalidArgument("--tag names one image: give one")

    def make(name: str) -> None:
        with Progress(quiet=args.on("quiet")) as progress:
            image = context.engine.images.bootstrap(
                name,
                mirror=args.text("mirror"),
                snapshot=args.text("snapshot"),
                include=[name for words in args.many("include") for name in words.split(",")],
                tag=tag,
                progress=progress,
            )
        for each in image.tags:
            print(f"{each} {image.id}")

    return for_each(args.rest, make)


COMMAND = Command(
    name="bootstrap",
    summary="Make a base image from packages: busybox, debian:RELEASE, ubuntu:RELEASE",
    usage=("[OPTIONS] IMAGE [IMAGE...]",),
    run=run,
    examples=(
        ("knarr bootstrap busybox",
         "Make the smallest image, from Debian's busybox-static"),
        ("knarr bootstrap --include python3 -t python debian:bookworm",
         "Make a Debian image with Python under a name of its own"),
    ),
    flags=(
        Flag("include", LIST, "Packages to install beside those of the base image",
             example="--include python3,git"),
        Flag("mirror", TEXT, "Base address of the package mirror (default: the one apt uses here)",
             example="--mirror http://mirror.example/debian"),
        Flag("snapshot", TEXT, "Moment to take the packages of, from a mirror that keeps snapshots",
             example="--snapshot 20260101T000000Z"),
        Flag("quiet", SWITCH, "Show no progress", short="q", example="-q"),
        Flag("tag", TEXT, "Name of the image instead of the usual one", short="t",
             example="--include python3 -t python debian:bookworm"),
    ),
    arguments=(1, MANY),
    spellings=("image bootstrap",),
    details="""\
The images get their usual names, so that 'knarr run debian:bookworm' finds
them; the same packages give the same digest.""",
)  # fmt: skip
