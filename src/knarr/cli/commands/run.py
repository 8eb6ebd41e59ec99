"""``knarr run``: create a container, start it, stay with it (or not)."""

from __future__ import annotations

import os

from knarr.cli import cidfile, container_config, foreground, stream, terminal
from knarr.cli.command import MANY, Command
from knarr.cli.container_flags import COMMON, FOREGROUND, MISSING
from knarr.cli.context import Context
from knarr.cli.flags import Args
from knarr.errors import InvalidArgument


def run(context: Context, args: Args) -> int:
    """Return the exit code of the container's command; 0 when it runs in the background."""
    streams = streams_of(args)
    if args.on("detach"):
        if args.many("attach"):
            raise InvalidArgument("conflicting options: cannot specify both --attach and --detach")
    else:
        foreground.check_terminal(streams)
    config = container_config.from_args(args, os.environ)
    with cidfile.claimed(args.text("cidfile")) as note:
        container, attachment = context.engine.containers.launch(
            config, attach=not args.on("detach"), size=terminal.size() if streams.tty else None
        )
        note(container.id)
    if attachment is None:
        print(container.id)
        return 0
    if not streams.stdout and not streams.stderr:
        print(container.id, flush=True)
    try:
        return foreground.follow(container, attachment, streams, context.caller)
    except stream.Detached:
        return 0


def streams_of(args: Args) -> stream.Streams:
    """Return what is joined: all outputs and, with -i, stdin, unless ``-a`` picks some."""
    chosen = args.many("attach")
    return stream.Streams(
        stdin="stdin" in chosen if chosen else args.on("interactive"),
        stdout="stdout" in chosen if chosen else True,
        stderr="stderr" in chosen if chosen else True,
        tty=args.on("tty"),
        sig_proxy=args.on("sig-proxy"),
        detach_keys=foreground.keys(args),
    )


COMMAND = Command(
    name="run",
    summary="Create and run a new container from an image",
    usage=("[OPTIONS] IMAGE [COMMAND] [ARG...]",),
    run=run,
    flags=(*COMMON, *FOREGROUND),
    arguments=(1, MANY),
    stops_early=True,
    missing=MISSING,
    spellings=("container run",),
    details="""\
The exit code is that of the command. 125: knarr refused, 126: the command
cannot be executed, 127: it was not found, 128+n: signal n ended it.""",
)
