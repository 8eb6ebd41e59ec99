"""``knarr start``: run containers that exist, in the background or attached."""

from __future__ import annotations

from knarr.cli import foreground, stream, terminal
from knarr.cli.command import MANY, Command
from knarr.cli.container_flags import DETACH_KEYS, SIG_PROXY
from knarr.cli.context import Context
from knarr.cli.each import for_each
from knarr.cli.flags import SWITCH, Args, Flag
from knarr.errors import InvalidArgument, NotModified

_CHECKPOINTS = "checkpoints are not available"


def run(context: Context, args: Args) -> int:
    """Print the names of what was started; attached: return the container's exit code."""
    if not args.on("attach") and not args.on("interactive"):
        return for_each(args.rest, lambda name: _start(context, name))
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
        attachment = container.start(attach=True, size=terminal.size() if streams.tty else None)
    except NotModified:
        attachment = container.attach()  # it runs already: join it
    assert attachment is not None
    try:
        return foreground.follow(container, attachment, streams, context.caller)
    except stream.Detached:
        return 0


def _start(context: Context, name: str) -> None:
    try:
        context.engine.containers.get(name).start()
    except NotModified:
        pass  # as asked for
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
    ),
    flags=(
        Flag("attach", SWITCH, "Attach STDOUT and STDERR and pass signals on", short="a",
             example="-a"),
        Flag("interactive", SWITCH, "Attach STDIN", short="i", example="-ai"),
        DETACH_KEYS,
        SIG_PROXY,
    ),
    arguments=(1, MANY),
    missing={"checkpoint": _CHECKPOINTS, "checkpoint-dir": _CHECKPOINTS},
    spellings=("container start",),
)  # fmt: skip
