"""``knarr wait``: block until containers end."""

from __future__ import annotations

from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.each import for_each
from knarr.cli.flags import Args


def run(context: Context, args: Args) -> int:
    """Print the exit codes in the order of the names."""

    def wait(name: str) -> None:
        status = context.engine.containers.get(name).wait()
        print(status.exit_code, flush=True)

    return for_each(args.rest, wait)


COMMAND = Command(
    name="wait",
    summary="Block until one or more containers stop, then print their exit codes",
    usage=("CONTAINER [CONTAINER...]",),
    run=run,
    examples=(("knarr wait job", "Wait for the end of a container and print its exit code"),),
    arguments=(1, MANY),
    spellings=("container wait",),
)
