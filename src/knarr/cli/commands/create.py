"""``knarr create``: a container that ``start`` can start."""

from __future__ import annotations

import os

from knarr.cli import cidfile, container_config
from knarr.cli.command import MANY, Command
from knarr.cli.container_flags import COMMON, MISSING
from knarr.cli.context import Context
from knarr.cli.flags import Args


def run(context: Context, args: Args) -> int:
    """Print the id of the new container."""
    config = container_config.from_args(args, os.environ)
    if config.restart.name != "no":
        from knarr.cli import latest

        latest.warn((config.image,), os.environ)
    with cidfile.claimed(args.text("cidfile")) as note:
        container = context.engine.containers.create(
            config, progress=container_config.pull_progress(args)
        )
        note(container.id)
    print(container.id)
    return 0


COMMAND = Command(
    name="create",
    summary="Create a new container",
    usage=("[OPTIONS] IMAGE [COMMAND] [ARG...]",),
    run=run,
    examples=(
        (
            "knarr create --name web -m 256m busybox sleep 1000",
            "Make a container that 'knarr start' can start",
        ),
    ),
    flags=COMMON,
    arguments=(1, MANY),
    stops_early=True,
    missing={
        **MISSING,
        "attach": "create never attaches; use 'knarr start -a'",
        "a": "create never attaches; use 'knarr start -a'",
        "detach": "create never starts a container; use 'knarr start'",
        "d": "create never starts a container; use 'knarr start'",
    },
    spellings=("container create",),
)
