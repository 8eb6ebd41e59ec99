"""``knarr network connect``: join a container to a network."""

from __future__ import annotations

from knarr.cli import networkargs
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import Args


def run(context: Context, args: Args) -> int:
    """Print nothing, as Docker does."""
    network, container = args.rest
    config = networkargs.of_connect(args, network)
    context.engine.networks.connect(network, container, config)
    return 0


COMMAND = Command(
    name="network connect",
    summary="Connect a container to a network",
    usage=("[OPTIONS] NETWORK CONTAINER",),
    run=run,
    examples=(
        ("knarr network connect front web",
         "Join a container to a network, also while it runs"),
        ("knarr network connect --alias db --ip 10.9.0.200 office postgres",
         "Choose its address there, and a further name"),
    ),
    flags=networkargs.CONNECT_FLAGS,
    arguments=(2, 2),
    missing={"link": "links are gone from Docker; use --alias"},
)  # fmt: skip
