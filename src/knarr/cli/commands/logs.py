"""``knarr logs``: what a container has written, and what it goes on to write."""

from __future__ import annotations

import sys

from knarr.cli import moments
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, TEXT, Args, Flag


def run(context: Context, args: Args) -> int:
    """Write stdout records to stdout and stderr records to stderr, byte for byte."""
    stamped, details = args.on("timestamps"), args.on("details")
    container = context.engine.containers.get(args.rest[0])
    before_line = container.log_details() + b" " if details else b""
    entries = container.logs(
        follow=args.on("follow"),
        since=moments.option(args, "since"),
        until=moments.option(args, "until"),
        tail=_tail(args.text("tail") or "all"),
        runs=stamped or details,
    )
    outputs = {1: sys.stdout.buffer, 2: sys.stderr.buffer}
    follow, before = args.on("follow"), 0
    for entry in entries:
        if before not in (0, entry.stream):
            outputs[before].flush()  # keeps the order where both go to one place
        before = entry.stream
        outputs[entry.stream].write(entry.text(stamped=stamped, before=before_line))
        if follow:
            outputs[entry.stream].flush()
    sys.stdout.flush()
    sys.stderr.flush()
    return 0


def _tail(text: str) -> int | None:
    """Return the number of lines, None for all; like Docker, what is no number means all."""
    try:
        count = int(text)
    except ValueError:
        return None
    return count if count >= 0 else None


COMMAND = Command(
    name="logs",
    summary="Fetch the logs of a container",
    usage=("[OPTIONS] CONTAINER",),
    run=run,
    examples=(
        ("knarr logs web",
         "Print the output of a container"),
        ("knarr logs -f -n 20 -t web",
         "Print the last 20 lines with their times, and go on"),
    ),
    flags=(
        Flag("details", SWITCH, "Show the labels and variables that the log options name",
             example="--details"),
        Flag("follow", SWITCH, "Go on with what is written from now on", short="f", example="-f"),
        Flag("since", TEXT, "Only what was written after a time (2026-01-02T13:23:37Z) or in the "
             "last so long (42m)", example="--since 10m"),
        Flag("tail", TEXT, "Number of lines to show from the end", short="n", default="all",
             example="-n 20"),
        Flag("timestamps", SWITCH, "Show when each line was written", short="t", example="-t"),
        Flag("until", TEXT, "Only what was written before a time or until so long ago",
             example="--until 2026-01-02T13:30:00Z"),
    ),
    arguments=(1, 1),
    spellings=("container logs",),
)  # fmt: skip
