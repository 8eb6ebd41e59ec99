"""``knarr top``: the processes of a container; with --all a live table of all containers."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from knarr import errors
from knarr.cli import human, listing, terminal
from knarr.cli.caller import ENDING, Interrupted
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag, UsageError

if TYPE_CHECKING:
    from knarr.engine.container import Container

_NARROWEST = 20  # Docker's
# The better one of those that are there.
_SHELL = "command -v bash >/dev/null && exec bash; exec sh"


def run(context: Context, args: Args) -> int:
    """Print a table of the processes, or show the one of containers."""
    if args.on("all"):
        if args.rest:
            raise UsageError("knarr: 'knarr top --all' accepts no arguments", exit_code=1)
        return _all(context)
    if not args.rest:
        raise UsageError("knarr: 'knarr top' requires at least 1 argument", exit_code=1)
    name, *options = args.rest
    found = context.engine.containers.get(name).top(options)
    rows = [[human.visible(cell) for cell in row] for row in (found.titles, *found.processes)]
    print(listing.align(rows, _NARROWEST), end="")
    return 0


def _all(context: Context) -> int:
    if not (terminal.is_terminal(0) and terminal.is_terminal(1)):
        raise errors.InvalidArgument("top --all needs a terminal: use 'knarr stats --no-stream'")
    try:
        from knarr.cli.dashboard.app import Dashboard
        from knarr.cli.dashboard.driver import driver_of, held_terminal
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("textual", "rich"):
            raise
        raise errors.Unsupported(
            "top --all needs the package textual: install it with pip install 'knarr[tui]'"
        ) from None
    terminal.wait_for_foreground(context.caller, signal.SIGTTOU)
    with context.engine.containers.stats(all=True) as board, held_terminal():
        app = Dashboard(board, lambda one: _shell(context, one), driver_of(context.caller))
        app.run()
    if app.failed is not None:
        raise app.failed
    if app.ended:
        raise Interrupted(app.ended[0])
    return app.return_code or 0


def _shell(context: Context, container: Container) -> None:
    """Run a shell in a container on the caller's terminal. Raises KnarrError."""
    from knarr.cli.commands import exec as execution

    changed = (*ENDING, signal.SIGTSTP)
    handlers = {number: signal.getsignal(number) for number in changed}
    context.caller.prepare_signals()
    try:
        command = execution.COMMAND
        command.run(context, command.parse(["-it", container.id, "sh", "-c", _SHELL]))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


COMMAND = Command(
    name="top",
    summary="Display the running processes of a container",
    usage=("CONTAINER [ps OPTIONS]", "--all"),
    run=run,
    examples=(
        ("knarr top web", "List the processes of a container"),
        ("knarr top web -eo pid,comm,rss", "List them as ps(1) does with these options"),
        ("knarr top --all", "Show all containers in a table that fills the screen"),
    ),
    flags=(
        Flag("all", SWITCH, "Show all containers in a live table that fills the screen",
             short="a", example="--all"),
    ),
    arguments=(0, MANY),
    stops_early=True,
    spellings=("container top",),
    details="The options are those of ps(1) on this machine (default -ef), and so are the process "
    "ids. What runs in the container by exec is shown too.\n\nWith `--all` a table of all "
    "containers fills the screen until `q`: their state and health, processors and memory with "
    "what they were in the last seconds, network and block devices. Keys act on the container "
    "under the cursor: `s` stops it, `r` restarts, `p` pauses or unpauses, `d` removes it after "
    "asking, `l` shows its logs, `e` enters a shell; `/` filters, `o` orders by the next column, "
    "`i` the other way round, `a` leaves out those that do not run. It needs the package textual "
    "(`pip install 'knarr[tui]'`).",
)  # fmt: skip
