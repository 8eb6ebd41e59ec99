"""``knarr network disconnect``: take a container off a network."""

from __future__ import annotations

from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag


def run(context: Context, args: Args) -> int:
    """Print nothing, as Docker does."""
    network, container = args.rest
    context.engine.networks.disconnect(network, container, force=args.on("force"))
    return 0


COMMAND = Command(
    name="network disconnect",
    summary="Disconnect a container from a network",
    usage=("[OPTIONS] NETWORK CONTAINER",),
    run=run,
    examples=(
        ("knarr network disconnect front web",
         "Take a container off a network, also while it runs"),
    ),
    flags=(
        Flag("force", SWITCH, "A container that there is not any more is no error", short="f",
             example="-f"),
    ),
    arguments=(2, 2),
)  # fmt: skip
