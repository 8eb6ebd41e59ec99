"""``knarr attach``: join a running container's streams."""

from __future__ import annotations

from knarr.cli import exitcodes, foreground, stream
from knarr.cli.command import Command
from knarr.cli.container_flags import DETACH_KEYS, SIG_PROXY
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag


def run(context: Context, args: Args) -> int:
    """Return the container's exit code; an error after the detach keys, as Docker's command."""
    container = context.engine.containers.get(args.rest[0])
    streams = stream.Streams(
        stdin=container.config.open_stdin and not args.on("no-stdin"),
        tty=container.config.tty,
        sig_proxy=args.on("sig-proxy"),
        detach_keys=foreground.keys(args),
    )
    attachment = container.attach()
    try:
        foreground.check_terminal(streams)
        return foreground.follow(container, attachment, streams, context.caller)
    except stream.Detached:
        raise exitcodes.CommandError("read escape sequence") from None
    finally:
        attachment.close()


COMMAND = Command(
    name="attach",
    summary="Attach your standard input, output and error streams to a running container",
    usage=("[OPTIONS] CONTAINER",),
    run=run,
    examples=(
        (
            "knarr attach web",
            "Join what a container does; ctrl-p ctrl-q lets go of one with a terminal",
        ),
        (
            "knarr attach --no-stdin --sig-proxy=false web",
            "Only look; ctrl-c then ends the command and not the container",
        ),
    ),
    flags=(
        DETACH_KEYS,
        Flag("no-stdin", SWITCH, "Do not attach STDIN", example="--no-stdin"),
        SIG_PROXY,
    ),
    arguments=(1, 1),
    spellings=("container attach",),
)
