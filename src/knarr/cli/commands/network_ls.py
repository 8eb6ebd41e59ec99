"""``knarr network ls``: list networks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from knarr.cli import filterargs, human, listing
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag

if TYPE_CHECKING:
    from knarr.engine.networks.network import Network

_HEADINGS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}
_LAYOUT = listing.Layout(_HEADINGS, ("ID", "Name", "Driver", "Scope"))


def run(context: Context, args: Args) -> int:
    """Print one line for each network, by name."""
    filters = filterargs.by_name(args.many("filter"))
    found = sorted(context.engine.networks.list(filters), key=lambda each: _natural(each.name))
    rows = [_row(each, cut=not args.on("no-trunc")) for each in found]
    quiet = args.on("quiet")
    print(listing.show(rows, _LAYOUT, args.text("format"), quiet=quiet), end="")
    return 0


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key by which net2 comes before net10."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part)
            for part in re.findall(r"\d+|\D+", name)]  # fmt: skip


def _row(network: Network, *, cut: bool) -> dict[str, Any]:
    definition = network.definition
    return {
        "ID": network.id[:12] if cut else network.id,
        "Name": network.name,
        "Driver": network.driver,
        "Scope": "local",
        "IPv4": _word(definition.ipv4),
        "IPv6": _word(definition.ipv6),
        "Internal": _word(definition.internal),
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(network.labels.items())),
        "Label": lambda name: network.labels.get(name, ""),
        "CreatedAt": human.local_time_of(network.created / 1e9),
    }


def _word(value: bool) -> str:
    return "true" if value else "false"


COMMAND = Command(
    name="network ls",
    summary="List networks",
    usage=("[OPTIONS]",),
    run=run,
    examples=(
        ("knarr network ls",
         "List networks"),
        ("knarr network ls -f type=custom --format '{{.Name}} {{.IPv6}}'",
         "Show something of those that somebody made"),
        ("knarr network ls -q -f dangling=true",
         "List the ids of those that no running container is on"),
    ),
    flags=(
        filterargs.flag("Only networks for which a condition holds: dangling, driver, id, label, "
                        "name, scope, type", "-f driver=bridge"),
        listing.FORMAT,
        Flag("no-trunc", SWITCH, "Show ids in full", example="--no-trunc"),
        Flag("quiet", SWITCH, "Only show network ids", short="q", example="-q"),
    ),
    spellings=("network list",),
)  # fmt: skip
