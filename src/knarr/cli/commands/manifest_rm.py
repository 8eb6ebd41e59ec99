"""``knarr manifest rm``: lists that were put together here."""

from __future__ import annotations

import sys

from knarr.cli import human
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import Args
from knarr.errors import KnarrError


def run(context: Context, args: Args) -> int:
    """Print nothing; 1 when one is missing."""
    failed = False
    for name in args.rest:
        try:
            context.engine.images.lists.remove(name)
        except KnarrError as error:
            print(f"Error: {human.visible(str(error))}", file=sys.stderr)
            failed = True
    return int(failed)


COMMAND = Command(
    name="manifest rm",
    summary="Delete one or more manifest lists from local storage",
    usage=("MANIFEST_LIST [MANIFEST_LIST...]",),
    run=run,
    examples=(("knarr manifest rm ghcr.io/example/app:1", "Forget a list"),),
    arguments=(1, MANY),
)
