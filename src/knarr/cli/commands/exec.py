"""``knarr exec``: a further command in a running container."""

from __future__ import annotations

import os

from knarr.cli import container_config, exitcodes, foreground, stream, terminal
from knarr.cli.command import MANY, Command
from knarr.cli.container_flags import DETACH_KEYS
from knarr.cli.context import Context
from knarr.cli.execterminal import ExecTerminal
from knarr.cli.flags import ENVIRONMENT, LIST, SWITCH, TEXT, Args, Flag
from knarr.engine.model import ExecConfig


def run(context: Context, args: Args) -> int:
    """Return the command's exit code; 0 when it runs in the background."""
    name, *command = args.rest
    container = context.engine.containers.get(name)
    config = ExecConfig(
        command=tuple(command),
        env=container_config.environment(args.many("env"), args.many("env-file"), os.environ),
        working_dir=args.text("workdir") or None,
        user=args.text("user") or None,
        tty=args.on("tty"),
        privileged=args.on("privileged"),
    )
    if args.on("detach"):
        container.exec(config).close()
        return 0
    stdin = args.on("interactive")
    if not config.tty:
        given = 0 if stdin else None
        with container.exec(config, stdin=given, stdout=1, stderr=2, by_name=True) as session:
            return session.wait()
    streams = stream.Streams(stdin=stdin, stderr=False, tty=True, detach_keys=foreground.keys(args))
    foreground.check_terminal(streams)
    with container.exec(config, size=terminal.size()) as session:
        connection = ExecTerminal(session)
        try:
            status = stream.relay(connection, streams, context.caller)
        except stream.Detached:
            raise exitcodes.CommandError("read escape sequence") from None
        finally:
            connection.close()
    return exitcodes.FAILED if status is None else status.exit_code


COMMAND = Command(
    name="exec",
    summary="Execute a command in a running container",
    usage=("[OPTIONS] CONTAINER COMMAND [ARG...]",),
    run=run,
    examples=(
        ("knarr exec -it web sh",
         "Open a shell in a running container"),
        ("knarr exec -u 1000 -w /srv -e LANG=C web ls",
         "Run a command as another user, elsewhere, with a variable"),
    ),
    flags=(
        Flag("detach", SWITCH, "Run in the background", short="d", example="-d"),
        DETACH_KEYS,
        Flag("env", ENVIRONMENT, "Set an environment variable; NAME alone takes it from yours",
             short="e", example="-e LANG=C.UTF-8"),
        Flag("env-file", LIST, "Read environment variables from a file, one a line",
             example="--env-file settings.env"),
        Flag("interactive", SWITCH, "Keep STDIN open", short="i", example="-i"),
        Flag("privileged", SWITCH, "Give all privileges to the command", example="--privileged"),
        Flag("tty", SWITCH, "Give the command a terminal", short="t", example="-it"),
        Flag("user", TEXT, "User name or id (format: <name|uid>[:<group|gid>])", short="u",
             example="-u 1000:1000"),
        Flag("workdir", TEXT, "Working directory inside the container", short="w",
             example="-w /srv"),
    ),
    arguments=(2, MANY),
    stops_early=True,
    spellings=("container exec",),
    details="""\
The exit code is that of the command. 126: it cannot be executed, its user is
unknown or its working directory cannot be entered, 127: it was not found,
128+n: signal n ended it, 1: knarr refused, 125: a policy did.""",
)  # fmt: skip
