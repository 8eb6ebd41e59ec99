"""``knarr run``: create a container, start it, stay with it (or not)."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from knarr.cli import cidfile, container_config, foreground, stream, terminal
from knarr.cli.command import MANY, Command
from knarr.cli.container_flags import COMMON, FOREGROUND, MISSING
from knarr.cli.context import Context
from knarr.cli.exitcodes import CommandError
from knarr.cli.flags import Args

if TYPE_CHECKING:
    from knarr.engine.container import Container


def run(context: Context, args: Args) -> int:
    """Return the exit code of the container's command; 0 when it runs in the background."""
    config = container_config.from_args(args, os.environ)
    if config.restart.name != "no":
        from knarr.cli import latest

        latest.warn((config.image,), os.environ)
    streams = streams_of(args)
    if args.on("detach"):
        if args.many("attach"):
            raise CommandError("conflicting options: cannot specify both --attach and --detach")
    else:
        foreground.check_terminal(streams)
    silent = args.on("detach") or not (streams.stdout or streams.stderr)
    with cidfile.claimed(args.text("cidfile")) as note:

        def created(container: Container) -> None:
            """Say the id: it can be looked at, started or removed even if it does not start."""
            note(container.id)
            if silent:
                with contextlib.suppress(OSError):  # nobody listens: no reason not to start it
                    print(container.id, flush=True)

        container, attachment = context.engine.containers.launch(
            config,
            attach=not args.on("detach"),
            size=terminal.size() if streams.tty else None,
            created=created,
            explained=foreground.explain if args.on("explain") else None,
            progress=container_config.pull_progress(args),
        )
    if attachment is None:
        return 0
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
    examples=(
        ("knarr run --rm busybox echo hello", "Run a command, and leave nothing behind"),
        ("knarr run -it --rm debian:bookworm bash", "Work in a container with a terminal"),
        (
            "knarr run -d --init --name web -m 256m --cpus 0.5 --pids-limit 100 busybox sleep 1000",
            "Run one in the background, with limits",
        ),
        (
            "knarr run --rm --read-only --tmpfs /tmp -u 1000 --cap-drop ALL busybox id",
            "Run one that may do little",
        ),
        (
            "knarr run -d --restart on-failure:5 --health-cmd 'test -f /ready' busybox sleep 1000",
            "Have it started again and watched",
        ),
        (
            "knarr run -d --network bridge -p 127.0.0.1:8080:80 busybox httpd -f",
            "Serve at port 8080 of this machine, for this machine alone",
        ),
        (
            "knarr run --rm --explain busybox true 2> explanation",
            "Have explained what makes it a container, and when each step of its start was done",
        ),
    ),
    flags=(*COMMON, *FOREGROUND),
    arguments=(1, MANY),
    stops_early=True,
    missing=MISSING,
    spellings=("container run",),
    details="""\
The exit code is that of the command. 125: knarr refused, 126: the command
cannot be executed, 127: it was not found, 128+n: signal n ended it.""",
)
