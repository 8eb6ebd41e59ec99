"""``knarr start``: run containers that exist, in the background or attached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from knarr.cli import foreground, stream, terminal
from knarr.cli.command import MANY, Command
from knarr.cli.container_flags import DETACH_KEYS, EXPLAIN, SIG_PROXY
from knarr.cli.context import Context
from knarr.cli.each import for_each
from knarr.cli.flags import SWITCH, Args, Flag
from knarr.errors import InvalidArgument, NotModified

_CHECKPOINTS = "checkpoints are not available"


def run(context: Context, args: Args) -> int:
    """Print the names of what was started; attached: return the container's exit code."""
    if not args.on("attach") and not args.on("interactive"):
        told = foreground.explain if args.on("explain") else None
        return for_each(args.rest, lambda name: _start(context, name, told))
    if len(args.rest) > 1:
        raise InvalidArgument("you cannot start and attach multiple containers at once")
    container = context.engine.containers.get(args.rest[0])
    streams = stream.Streams(
        stdin=args.on("interactive") and container.config.open_stdin,
        tty=container.config.tty,
        sig_proxy=args.on("sig-proxy"),
        detach_keys=foreground.keys(args),
    )
    foreground.check_terminal(streams)
    try:
        attachment = container.start(
            attach=True,
            size=terminal.size() if streams.tty else None,
            explained=foreground.explain if args.on("explain") else None,
        )
    except NotModified:
        attachment = container.attach()  # it runs already: join it
        if args.on("explain"):
            foreground.explain(container.explain())
    assert attachment is not None
    try:
        return foreground.follow(container, attachment, streams, context.caller)
    except stream.Detached:
        return 0


def _start(context: Context, name: str, told: Callable[[dict[str, Any]], None] | None) -> None:
    container = context.engine.containers.get(name)
    try:
        container.start(explained=told)
    except NotModified:  # as asked for
        if told is not None:
            told(container.explain())
    print(name)


COMMAND = Command(
    name="start",
    summary="Start one or more stopped containers",
    usage=("[OPTIONS] CONTAINER [CONTAINER...]",),
    run=run,
    examples=(
        ("knarr start web",
         "Start a container"),
        ("knarr start -ai job",
         "Start one and join it"),
        ("knarr start --explain web",
         "Have explained what makes it a container, and when each step of its start was done"),
    ),
    flags=(
        Flag("attach", SWITCH, "Attach STDOUT and STDERR and pass signals on", short="a",
             example="-a"),
        Flag("interactive", SWITCH, "Attach STDIN", short="i", example="-ai"),
        DETACH_KEYS,
        SIG_PROXY,
        EXPLAIN,
    ),
    arguments=(1, MANY),
    missing={"checkpoint": _CHECKPOINTS, "checkpoint-dir": _CHECKPOINTS},
    spellings=("container start",),
)  # fmt: skip
