"""``knarr port``: which ports of a container are published, and where."""

from __future__ import annotations

from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.exitcodes import CommandError
from knarr.cli.flags import Args

_LARGEST = 65535


def run(context: Context, args: Args) -> int:
    """Print ``80/tcp -> HOST:PORT`` for all ports, or ``HOST:PORT`` of one."""
    name = args.rest[0]
    ports = context.engine.containers.get(name).ports
    if len(args.rest) == 1:
        for port in sorted(ports, key=_in_order):
            for place in _places(ports[port]):
                print(f"{port} -> {place}")
        return 0
    wanted = args.rest[1]
    number, _, protocol = wanted.partition("/")
    if not (number.isascii() and number.isdigit() and int(number) <= _LARGEST):
        raise CommandError(f"invalid port ({number}): it has to be a number up to {_LARGEST}")
    found = ports.get(f"{number}/{protocol or 'tcp'}")
    if not found:
        raise CommandError(f"No public port '{wanted}' published for {name}")
    for place in _places(found):
        print(place)
    return 0


def _in_order(port: str) -> tuple[int, str]:
    number, _, protocol = port.partition("/")
    return int(number), protocol


def _places(published: list[dict[str, str]]) -> list[str]:
    """Return HOST:PORT of each, an IPv6 address in brackets."""
    pairs = [(each["HostIp"], each["HostPort"]) for each in published]
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in pairs]


COMMAND = Command(
    name="port",
    summary="List port mappings or a specific mapping for the container",
    usage=("CONTAINER [PRIVATE_PORT[/PROTO]]",),
    run=run,
    examples=(("knarr port web", "List which ports of a container are published"),),
    arguments=(1, 2),
    spellings=("container port",),
    details="Ports cannot be published yet, so there are none; see --network host.",
)
