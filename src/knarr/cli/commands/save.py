"""``knarr save``: images into an archive."""

from __future__ import annotations

from knarr.cli import binary
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import TEXT, Args, Flag
from knarr.errors import InvalidArgument


def run(context: Context, args: Args) -> int:
    """Write the archive to a file, a new directory (oci-dir), or stdout."""
    images = context.engine.images
    path, form = args.text("output"), args.text("format") or "docker-archive"
    compress, platform = args.text("compress"), args.text("platform")
    if form == "oci-dir":
        if not path:
            raise InvalidArgument("--format oci-dir writes a directory: name it with -o")
        images.save(args.rest, path, format=form, compress=compress, platform=platform)
        return 0
    with binary.output(path, "save") as stream:
        images.save(args.rest, stream, format=form, compress=compress, platform=platform)
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
    ),
    flags=(
        Flag("compress", TEXT, "Compress the archive: gzip or zstd", example="--compress zstd"),
        Flag("format", TEXT, "docker-archive (an OCI layout that old Docker reads too), oci or "
             "oci-dir", default="docker-archive", example="--format oci-dir -o busybox"),
        Flag("output", TEXT, "Write to this file instead of STDOUT", short="o",
             example="-o busybox.tar"),
        Flag("platform", TEXT, "Save only this platform of an image that has several",
             example="--platform linux/arm64"),
    ),
    arguments=(1, MANY),
    spellings=("image save",),
)  # fmt: skip
