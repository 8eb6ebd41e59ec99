"""``knarr container clone``: a second container with the files of a first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.exitcodes import CommandError
from knarr.cli.flags import SWITCH, TEXT, Args, Flag
from knarr.errors import Conflict

if TYPE_CHECKING:
    from knarr.engine.container import Container

_TRIES = 100


def run(context: Context, args: Args) -> int:
    """Print the id of the new container."""
    container = context.engine.containers.get(args.rest[0])
    if args.on("force") and not args.on("destroy"):
        raise CommandError("cannot set --force without --destroy")
    if container.state.running and args.on("destroy") and not args.on("force"):
        raise Conflict(
            f"container {container.name} is running: stop it first, or use --force with --destroy"
        )
    name = args.text("name") or (args.rest[1] if len(args.rest) > 1 else None)
    made = container.clone(name) if name else _named_after(container)
    if args.on("destroy"):
        container.remove(force=args.on("force"))
    if args.on("run"):
        made.start()
    print(made.id)
    return 0


def _named_after(container: Container) -> Container:
    """Return a clone with the first name of NAME-clone, NAME-clone1, … that is free."""
    for number in range(_TRIES):
        try:
            return container.clone(f"{container.name}-clone{number or ''}")
        except Conflict as error:
            if "already in use" not in str(error):
                raise
    raise Conflict(f"{_TRIES} names that begin with {container.name}-clone are in use: give --name")


COMMAND = Command(
    name="container clone",
    summary="Create a copy of a container with everything that it has written",
    usage=("[OPTIONS] CONTAINER [NAME]",),
    run=run,
    examples=(
        ("knarr container clone web",
         "Make a second container with the same files and settings"),
        ("knarr container clone --run --name web2 web",
         "Give it a name and start it"),
    ),
    flags=(
        Flag("destroy", SWITCH, "Remove the original container", example="--destroy"),
        Flag("force", SWITCH, "Remove the original even while it runs", short="f",
             example="--destroy -f"),
        Flag("name", TEXT, "Name of the copy (default: the original's with -clone behind)",
             example="--name second"),
        Flag("run", SWITCH, "Start the copy", example="--run"),
    ),
    arguments=(1, 2),
    details="The copy has the configuration and the files of the original, and none of its "
    "processes. On file systems that can share blocks (Btrfs, XFS) no data is copied.",
)  # fmt: skip
