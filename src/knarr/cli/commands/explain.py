"""``knarr explain``: what makes the process of a container a container."""

from __future__ import annotations

from knarr.cli import explaining, listing, terminal
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag


def run(context: Context, args: Args) -> int:
    """Print the explanation as text, or as ``--format`` says."""
    container = context.engine.containers.get(args.rest[0])
    found = container.explain(calls=args.on("calls"))
    template = args.text("format")
    if template:
        print(listing.show_one(found, template), end="")
    else:
        print(explaining.text(found, colour=terminal.is_terminal(1)), end="")
    return 0


COMMAND = Command(
    name="explain",
    summary="Explain what makes a process a container",
    usage=("[OPTIONS] CONTAINER",),
    run=run,
    examples=(
        ("knarr explain web", "Explain a container in plain words"),
        ("knarr explain --calls web", "Show each system call of its start, too"),
        ("knarr explain -f '{{range .Namespaces}}{{.Type}} {{.Inode}}{{println}}{{end}}' web",
         "List the inodes of its namespaces"),
        ("knarr explain --format json web", "Have all facts as JSON"),
    ),
    flags=(
        Flag("calls", SWITCH, "Show each system call of the start", example="--calls"),
        listing.format_of_one("--format '{{.Process.Pid}}'"),
    ),
    arguments=(1, 1),
    spellings=("container explain",),
    details="Namespaces with their inodes beside the host's, id map, layers, mounts, control groups"
    " with limits and use, capabilities, system call filter, network, what an attacker inside "
    "lacks, and the steps of the start. What a running container has is read from the kernel; of "
    "one that does not run its records are told. The steps have times where it was started by "
    "`knarr run` or `start` with --explain.",
)  # fmt: skip
