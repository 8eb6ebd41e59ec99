"""``knarr save``: images into an archive."""

from __future__ import annotations

import contextlib
import sys
from typing import BinaryIO

from knarr.cli import binary, human
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import LIST, TEXT, Args, Flag
from knarr.errors import InvalidArgument


def run(context: Context, args: Args) -> int:
    """Write the archive to a file, a new directory (oci-dir), or stdout."""
    path, form = args.text("output"), args.text("format") or "docker-archive"
    since = args.many("since")
    with contextlib.ExitStack() as stack:
        target: str | BinaryIO
        if form != "oci-dir":
            target = stack.enter_context(binary.output(path, "save"))
        elif path:
            target = path
        else:
            raise InvalidArgument("--format oci-dir writes a directory: name it with -o")
        saved = context.engine.images.save(
            args.rest,
            target,
            format=form,
            compress=args.text("compress"),
            platform=args.text("platform"),
            since=since,
        )
    if since:
        layers = "1 layer" if saved.left_out == 1 else f"{saved.left_out} layers"
        print(f"Left out {layers} ({human.size(saved.left_out_bytes)})", file=sys.stderr)
    return 0


COMMAND = Command(
    name="save",
    summary="Save one or more images to a tar archive (to STDOUT by default)",
    usage=("[OPTIONS] IMAGE [IMAGE...]",),
    run=run,
    examples=(
        ("knarr save -o images.tar busybox debian:bookworm",
         "Write images to an archive"),
        ("knarr save --format oci --compress zstd -o box.oci.tar busybox",
         "Write one as an OCI layout"),
        ("knarr save --since app:1 app:2 | ssh host knarr load",
         "Send only the layers that the other side lacks"),
    ),
    flags=(
        Flag("compress", TEXT, "Compress the archive: gzip or zstd", example="--compress zstd"),
        Flag("format", TEXT, "docker-archive (an OCI layout that old Docker reads too), oci or "
             "oci-dir", default="docker-archive", example="--format oci-dir -o busybox"),
        Flag("output", TEXT, "Write to this file instead of STDOUT", short="o",
             example="-o busybox.tar"),
        Flag("platform", TEXT, "Save only this platform of an image that has several",
             example="--platform linux/arm64"),
        Flag("since", LIST, "Leave out the layers of this image, which whoever loads the archive "
             "has", metavar="image", example="--since app:1"),
    ),
    details="""\
The same images give the same bytes, in whatever order they are named and on any machine that
keeps their layers likewise. A layer that is kept as its tar alone is saved as that. An archive of
--since can be loaded where those images are, by Docker too; 'knarr load' says which image is
missing where they are not.""",
    arguments=(1, MANY),
    spellings=("image save",),
)  # fmt: skip
