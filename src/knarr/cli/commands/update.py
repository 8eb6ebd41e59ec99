"""``knarr update``: other limits for containers that exist."""

from __future__ import annotations

from knarr.cli import container_config, container_flags
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.each import for_each
from knarr.cli.exitcodes import CommandError
from knarr.cli.flags import Args
from knarr.engine.model import Limits

_NAMES = frozenset({
    "blkio-weight", "blkio-weight-device", "cpu-period", "cpu-quota", "cpu-rt-period",
    "cpu-rt-runtime", "cpu-shares", "cpus", "cpuset-cpus", "cpuset-mems", "device-read-bps",
    "device-read-iops", "device-write-bps", "device-write-iops", "memory", "memory-reservation",
    "memory-swap", "pids-limit", "restart",
})  # fmt: skip


def run(context: Context, args: Args) -> int:
    """Print the names of the containers that were changed."""
    if not args.given:
        raise CommandError("you must provide one or more flags when using this command")
    # What is 0 or empty is as good as not given, as with Docker.
    limits = Limits(**container_config.changeable(args)) if args.given - {"restart"} else None
    policy = None
    if args.text("restart"):
        policy = container_config.restart_policy(args.text("restart"))

    def update(name: str) -> None:
        context.engine.containers.get(name).update(limits, policy)
        print(name)

    return for_each(args.rest, update)


COMMAND = Command(
    name="update",
    summary="Update configuration of one or more containers",
    usage=("[OPTIONS] CONTAINER [CONTAINER...]",),
    run=run,
    examples=(
        (
            "knarr update -m 512m --memory-swap 1g web",
            "Give a container more memory, also while it runs",
        ),
        ("knarr update --restart unless-stopped web db", "Have containers started again"),
    ),
    flags=tuple(flag for flag in container_flags.COMMON if flag.name in _NAMES),
    arguments=(1, MANY),
    missing={"kernel-memory": container_flags.MISSING["kernel-memory"]},
    spellings=("container update",),
    details="What is not named stays as it is. A container that runs has its new limits at once, "
    "any other from its next start.",
)
