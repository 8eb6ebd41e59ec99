"""``knarr help [VERB]``: the same as --help, with an example for each flag."""

from __future__ import annotations

from knarr.cli import helptext, manual, verbs
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag


def run(_context: Context, args: Args) -> int:
    """Print the help of a verb, or the list of verbs."""
    if args.on("man"):
        print(manual.page(verbs.find(args.rest)[0] if args.rest else None), end="")
        return 0
    if not args.rest:
        print(helptext.overview(), end="")
        return 0
    if args.rest[0] in verbs.GROUPS and len(args.rest) == 1:
        print(helptext.group_help(args.rest[0]), end="")
        return 0
    command, _rest = verbs.find(args.rest)
    print(helptext.command_help(command, examples=True), end="")
    return 0


COMMAND = Command(
    name="help",
    summary="Explain a command and each of its flags, with examples",
    usage=("[OPTIONS] [COMMAND]",),
    run=run,
    examples=(
        ("knarr help run", "Explain a command and each of its flags"),
        ("knarr help image prune", "Explain one of a group"),
        ("knarr help --man run", "Print the manual page, for 'man -l -'"),
    ),
    flags=(
        Flag("man", SWITCH, "Print the manual page instead, as 'man -l -' takes it",
             example="--man"),
    ),
    arguments=(0, 2),
)  # fmt: skip
