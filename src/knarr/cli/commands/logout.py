"""``knarr logout``: credentials for a registry are forgotten."""

from __future__ import annotations

import os
import sys

from knarr.cli import human
from knarr.cli.command import Command
from knarr.cli.commands.login import warn_of_variable
from knarr.cli.context import Context
from knarr.cli.flags import Args
from knarr.errors import KnarrError


def run(context: Context, args: Args) -> int:
    """Print which credentials go; that there were none is fine."""
    del context
    from knarr.registry import names
    from knarr.registry.credentials import Credentials

    warn_of_variable()
    server = names.hostname_of(args.rest[0]) if args.rest else names.HUB
    is_hub = names.is_hub(server)
    shown = names.HUB_KEY if is_hub else names.check(server)
    print(f"Removing login credentials for {shown}")
    try:
        Credentials(os.environ).erase(names.HUB if is_hub else server)
    except KnarrError as error:
        print(
            f"WARNING: could not erase credentials:\n{shown}: {human.visible(str(error))}",
            file=sys.stderr,
        )
    return 0


COMMAND = Command(
    name="logout",
    summary="Log out from a registry",
    usage=("[SERVER]",),
    run=run,
    examples=(("knarr logout ghcr.io", "Forget the credentials for a registry"),),
    arguments=(0, 1),
    details="Without a server it is Docker Hub.",
)
