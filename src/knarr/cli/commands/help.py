"""``knarr help [VERB]``: the same as --help, with an example for each flag."""

from __future__ import annotations

from knarr.cli import helptext, verbs
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import Args


def run(_context: Context, args: Args) -> int:
    """Print the help of a verb, or the list of verbs."""
    if not args.rest:
        print(helptext.overview(), end="")
        return 0
    command, _rest = verbs.find(args.rest)
    print(helptext.command_help(command, examples=True), end="")
    return 0


COMMAND = Command(
    name="help",
    summary="Explain a command and each of its flags, with examples",
    usage=("[COMMAND]",),
    run=run,
    arguments=(0, 2),
)
