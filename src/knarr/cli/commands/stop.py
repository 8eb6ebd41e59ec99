"""``knarr stop``: ask containers to end, kill those that do not."""

from __future__ import annotations

from knarr.cli import stopping
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.each import for_each
from knarr.cli.flags import Args
from knarr.errors import NotModified


def run(context: Context, args: Args) -> int:
    """Print the names of the stopped containers."""

    def stop(name: str) -> None:
        container = context.engine.containers.get(name)
        try:
            container.stop(args.number("timeout"), args.text("signal"))
        except NotModified:
            pass  # it has ended already
        print(name)

    return for_each(args.rest, stop)


COMMAND = Command(
    name="stop",
    summary="Stop one or more running containers",
    usage=("[OPTIONS] CONTAINER [CONTAINER...]",),
    run=run,
    examples=(
        ("knarr stop web",
         "Ask a container to stop, and kill it after ten seconds"),
        ("knarr stop -t 60 -s INT web",
         "Ask with another signal and wait longer"),
    ),
    flags=stopping.FLAGS,
    arguments=(1, MANY),
    spellings=("container stop",),
)  # fmt: skip
