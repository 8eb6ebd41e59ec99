"""``knarr manifest annotate``: what platform a manifest of a list is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import LIST, TEXT, Args, Flag

if TYPE_CHECKING:
    from knarr.images.platform import Platform


def run(context: Context, args: Args) -> int:
    """Print nothing."""
    from knarr.images.platform import Platform

    def changed(known: Platform) -> Platform:
        return Platform(
            args.text("os") or known.os,
            args.text("arch") or known.architecture,
            args.text("variant") or known.variant,
            args.text("os-version") or known.os_version,
            tuple(dict.fromkeys((*known.os_features, *args.many("os-features")))),
        )

    context.engine.images.lists.annotate(args.rest[0], args.rest[1], changed)
    return 0


COMMAND = Command(
    name="manifest annotate",
    summary="Add additional information to a local image manifest",
    usage=("[OPTIONS] MANIFEST_LIST MANIFEST",),
    run=run,
    examples=(
        (("knarr manifest annotate --arch arm --variant v7 ghcr.io/example/app:1 "
         "ghcr.io/example/app:1-armv7"),
         "Say for which variant of a processor a manifest is"),
    ),
    flags=(
        Flag("arch", TEXT, "Set architecture", example="--arch arm64"),
        Flag("os", TEXT, "Set operating system", example="--os linux"),
        Flag("os-features", LIST, "Set operating system feature", example="--os-features win32k"),
        Flag("os-version", TEXT, "Set operating system version", example="--os-version 10.0"),
        Flag("variant", TEXT, "Set architecture variant", example="--variant v7"),
    ),
    arguments=(2, 2),
)  # fmt: skip
