"""``knarr completion``: the script that makes a shell complete command lines of knarr."""

from __future__ import annotations

from knarr.cli import shells
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import Args
from knarr.errors import InvalidArgument


def run(_context: Context, args: Args) -> int:
    """Print the script of a shell."""
    script = shells.SCRIPTS.get(args.rest[0])
    if script is None:
        known = ", ".join(sorted(shells.SCRIPTS))
        raise InvalidArgument(f"completion {args.rest[0]}: there is one for {known}")
    print(script, end="")
    return 0


COMMAND = Command(
    name="completion",
    summary="Print the script that makes a shell complete knarr's command lines",
    usage=("bash|fish|zsh",),
    run=run,
    examples=(
        ("knarr completion bash > /etc/bash_completion.d/knarr", "Have it in every bash"),
        ("knarr completion zsh > /usr/local/share/zsh/site-functions/_knarr",
         "Have it in every zsh"),
        ("knarr completion fish > ~/.config/fish/completions/knarr.fish", "Have it in your fish"),
    ),
    arguments=(1, 1),
    details="""\
Verbs, flags, their values, containers, images, signals and files are completed.
The wheel brings the three scripts where shells look for them below its prefix.
For the shell that runs: 'source <(knarr completion bash)'.""",
)  # fmt: skip
