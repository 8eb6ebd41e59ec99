"""``knarr pull``: an image from a registry."""

from __future__ import annotations

import os

from knarr.cli import lockpin
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.exitcodes import CommandError
from knarr.cli.flags import SWITCH, TEXT, Args, Flag
from knarr.cli.layerlines import LayerLines


def run(context: Context, args: Args) -> int:
    """Print each layer's way, and last the full name."""
    name, all_tags = args.rest[0], args.on("all-tags")
    if all_tags and lockpin.path(args, os.environ):
        raise CommandError("--all-tags pulls what no lock file names: give --lock-file ''")
    lines = LayerLines(quiet=args.on("quiet"))
    reference = lines.reference(name, all_tags=all_tags)
    pinned = name if all_tags else lockpin.pinned(name, args, os.environ)
    pulled = context.engine.images.pull(
        pinned,
        platform=args.text("platform") or os.environ.get("DOCKER_DEFAULT_PLATFORM"),
        all_tags=all_tags,
        lazy=args.on("lazy"),
        progress=lines,
    )
    for each in pulled:
        status = "Downloaded newer image" if each.is_new else "Image is up to date"
        lines.line(f"Digest: {each.digest}")
        lines.line(f"Status: {status} for {each.reference.familiar()}")
    if pinned != name:  # by digest; the name is to stand for it here
        context.engine.images.tag(pinned, str(reference))
        lines.line(f"Tagged {reference.familiar()} as the lock file has it")
    print(reference)
    return 0


COMMAND = Command(
    name="pull",
    summary="Download an image from a registry",
    usage=("[OPTIONS] NAME[:TAG|@DIGEST]",),
    run=run,
    examples=(
        ("knarr pull debian:bookworm",
         "Download an image from Docker Hub"),
        ("knarr pull -q localhost:5000/team/app:1.2",
         "Download one from a registry of this machine, and print only its name"),
        ("knarr pull --platform linux/arm64 ghcr.io/example/app",
         "Download it for another kind of machine"),
        ("knarr pull --lazy registry.example.com/team/model",
         "Have containers of it run at once, while it is still on its way"),
    ),
    flags=(
        Flag("all-tags", SWITCH, "Download all tagged images in the repository", short="a",
             example="-a"),
        Flag("lazy", SWITCH, "Do not wait for layers that containers can use while they come",
             example="--lazy"),
        lockpin.FLAG,
        Flag("platform", TEXT, "Platform to choose of an image that has several "
             "(default $DOCKER_DEFAULT_PLATFORM, or this machine's)",
             example="--platform linux/arm64"),
        Flag("quiet", SWITCH, "Print only the name of the image", short="q", example="-q"),
    ),
    arguments=(1, 1),
    spellings=("image pull",),
    details="""\
With --lazy, layers that are zstd:chunked, eStargz or plain tars are mounted at once (Linux
6.14, storage driver erofs): what a container reads of them is fetched then, the rest in the
background; other layers are waited for. See docs/lazy.md.

A pull that ends early loses nothing that was verified: the next one goes on where it
stopped. Mirrors, certificates and credentials: docs/registries.md.""",
)  # fmt: skip
