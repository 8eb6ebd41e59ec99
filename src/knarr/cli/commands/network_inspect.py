"""``knarr network inspect``: everything about networks as JSON."""

from __future__ import annotations

from knarr.cli import inspecting, listing
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag


def run(context: Context, args: Args) -> int:
    """Print the networks."""
    return inspecting.show(context, args.rest, "network", args.text("format"))


COMMAND = Command(
    name="network inspect",
    summary="Show everything about one or more networks as JSON",
    usage=("[OPTIONS] NETWORK [NETWORK...]",),
    run=run,
    examples=(
        ("knarr network inspect front",
         "Show everything about a network as JSON"),
        ("knarr network inspect -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}' front",
         "Show its subnet"),
    ),
    flags=(
        listing.format_of_one("-f '{{.Driver}}'"),
        Flag("verbose", SWITCH, "Show services of a swarm too; knarr has none, so it is the same "
             "with or without it", short="v", example="-v"),
    ),
    arguments=(1, MANY),
)  # fmt: skip
