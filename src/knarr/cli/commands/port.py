"""``knarr port``: which ports of a container are published, and where."""

from __future__ import annotations

import re

from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.exitcodes import CommandError
from knarr.cli.flags import Args
from knarr.cli.portscolumn import joined

_LARGEST = 65535


def run(context: Context, args: Args) -> int:
    """Print ``80/tcp -> HOST:PORT`` for all ports, or ``HOST:PORT`` of one."""
    name = args.rest[0]
    ports = context.engine.containers.get(name).ports
    if len(args.rest) == 1:
        lines = [f"{port} -> {place}" for port in ports for place in _places(ports[port])]
    else:
        wanted = args.rest[1]
        number, _, protocol = wanted.partition("/")
        if not (number.isascii() and number.isdigit() and int(number) <= _LARGEST):
            raise CommandError(f"invalid port ({number}): it has to be a number up to {_LARGEST}")
        lines = _places(ports.get(f"{int(number)}/{protocol.lower() or 'tcp'}"))
        if not lines:
            raise CommandError(f"No public port '{wanted}' published for {name}")
    for line in sorted(lines, key=_natural):
        print(line)
    return 0


def _natural(line: str) -> list[tuple[int, str]]:
    """Return what orders texts with numbers in them as people do: 9 before 80."""
    parts = re.findall(r"\d+|\D+", line)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _places(published: list[dict[str, str]] | None) -> list[str]:
    return [joined(each["HostIp"], each["HostPort"]) for each in published or ()]


COMMAND = Command(
    name="port",
    summary="List port mappings or a specific mapping for the container",
    usage=("CONTAINER [PRIVATE_PORT[/PROTO]]",),
    run=run,
    examples=(
        ("knarr port web", "List which ports of a container are published, and where"),
        ("knarr port web 80", "Show where on the host its port 80 is"),
        ("knarr port dns 53/udp", "Show that of a port of another protocol"),
    ),
    arguments=(1, 2),
    spellings=("container port",),
)
