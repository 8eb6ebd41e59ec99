"""``knarr events``: what happens to containers and images, as it happens."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from knarr.cli import filterargs, human, listing, moments
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import TEXT, Args, Flag

_BILLION = 1_000_000_000
_FIELDS = {
    "Status": "status", "ID": "id", "From": "from", "Type": "Type", "Action": "Action",
    "Actor": "Actor", "Scope": "scope", "Time": "time", "TimeNano": "timeNano",
}  # fmt: skip


def run(context: Context, args: Args) -> int:
    """Print events, one a line, until the end of time or ``--until``."""
    show = _printer(args.text("format"))
    found = context.engine.events(
        since=moments.option(args, "since"),
        until=moments.option(args, "until"),
        filters=filterargs.by_name(args.many("filter")),
    )
    for event in found:
        sys.stdout.write(show(event))
        sys.stdout.flush()
    return 0


def _printer(template: str | None) -> Callable[[dict[str, Any]], str]:
    """Return what makes a line of an event. Raises InvalidArgument for a bad template."""
    if not template:
        return pretty
    if listing.is_json(template):
        return lambda event: listing.show_one(event, "json")
    empty = {"Actor": {"ID": "", "Attributes": {}}}
    listing.show_one(_row(empty), template)  # what is wrong with it is said now
    return lambda event: listing.show_one(_row(event), template)


def _row(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event under the names that templates have for its members."""
    return {field: event.get(name, "") for field, name in _FIELDS.items()}


def pretty(event: dict[str, Any]) -> str:
    """Return an event as Docker prints it: local time, type, action, id and attributes."""
    seconds, nanoseconds = divmod(event["timeNano"], _BILLION)
    local = datetime.fromtimestamp(seconds, UTC).astimezone()
    zone = local.strftime("%z")
    zone = f"{zone[:3]}:{zone[3:5]}" if zone.strip("+-0") else "Z"
    actor = event["Actor"]
    attributes = actor["Attributes"]
    pairs = ", ".join(f"{name}={attributes[name]}" for name in sorted(attributes))
    line = (
        f"{local:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}{zone} {event['Type']} {event['Action']} "
        f"{actor['ID']}" + (f" ({pairs})" if pairs else "")
    )
    return human.visible(line) + "\n"


COMMAND = Command(
    name="events",
    summary="Show what happens to containers and images, as it happens",
    usage=("[OPTIONS]",),
    run=run,
    examples=(
        ("knarr events",
         "Show what happens from now on"),
        ("knarr events --since 10m --until 0s -f event=die",
         "List the ends of containers in the last ten minutes"),
        ("knarr events --format json -f container=web",
         "Follow one container as JSON"),
    ),
    flags=(
        filterargs.flag("Only events for which a condition holds: container, event, image, label, "
                        "scope, type", "-f event=die"),
        Flag("format", TEXT, "Format output using a custom template: 'json' (one object a line) "
             "or 'TEMPLATE' (a Go template)", example="--format '{{.Action}} {{.Actor.ID}}'"),
        Flag("since", TEXT, "Begin with what happened after a time (2026-01-02T13:23:37Z) or in "
             "the last so long (42m), since the last boot at most", example="--since 10m"),
        Flag("until", TEXT, "End at a time, or at once for one that has passed",
             example="--until 2026-01-02T13:30:00Z"),
    ),
    arguments=(0, 0),
    spellings=("system events",),
)  # fmt: skip
