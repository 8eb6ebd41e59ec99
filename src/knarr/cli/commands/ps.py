"""``knarr ps``: list containers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from knarr.cli import filterargs, human, listing, portscolumn
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import NUMBER, SWITCH, Args, Flag
from knarr.engine import gone

if TYPE_CHECKING:
    from knarr.engine.container import Container
    from knarr.engine.engine import Engine
    from knarr.engine.state import ContainerState

HEADINGS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Ports": "PORTS",
    "State": "STATE",
    "Status": "STATUS",
    "Size": "SIZE",
    "Names": "NAMES",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
}
_NOT_GIVEN = -1  # of --last; as with Docker, 0 means no limit and not what has ended
_COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


def run(context: Context, args: Args) -> int:
    """Print the containers, the newest first."""
    engine = context.engine
    last = args.number("last")
    limit = last if last is not None and last > 0 else None
    if args.on("latest") and last == _NOT_GIVEN:
        limit = 1
    found = engine.containers.listed(
        all=args.on("all"),
        filters=filterargs.by_name(args.many("filter")),
        limit=limit,
    )
    template = args.text("format")
    wants_size = args.on("size") or (template is not None and "Size" in template)
    cut = not args.on("no-trunc")
    if args.on("quiet") and template is None:
        rows: list[dict[str, Any]] = [{"ID": _id(container, cut=cut)} for container, _ in found]
    else:
        make = brief if template in (None, "", "table") else row
        rows = [make(container, state, cut=cut) for container, state in found]
    if wants_size:
        for shown, (container, _) in zip(rows, found, strict=True):
            shown["Size"] = _size(engine, container)
    columns = (*_COLUMNS, "Size") if args.on("size") else _COLUMNS
    layout = listing.Layout(HEADINGS, columns)
    print(listing.show(rows, layout, template, quiet=args.on("quiet")), end="")
    return 0


def _id(container: Container, *, cut: bool) -> str:
    return container.short_id if cut else container.id


def brief(container: Container, state: ContainerState, *, cut: bool) -> dict[str, Any]:
    """Return what the table shows of a container but for its size; cut: ids and words shorter."""
    command = " ".join(container.arguments)
    return {
        "ID": _id(container, cut=cut),
        "Image": container.image,
        "Command": human.quoted(human.ellipsis(command, 20) if cut else command),
        "RunningFor": human.ago(human.age(container.created / 1e9)),
        "Ports": portscolumn.text(container.ports_in(state)),
        "Status": state.describe(),
        "Size": "0B",
        "Names": container.name,
    }


def row(container: Container, state: ContainerState, *, cut: bool) -> dict[str, Any]:
    """Return all there is to show of a container, as `brief` does."""
    labels = container.labels
    mounts = [bind.source for bind in container.config.binds]
    return {
        **brief(container, state, cut=cut),
        "CreatedAt": human.local_time_of(container.created / 1e9),
        "State": state.status,
        "Labels": ",".join(f"{key}={labels[key]}" for key in sorted(labels)),
        "Label": _label_of(labels),
        "Mounts": ",".join(human.ellipsis(path, 15) if cut else path for path in mounts),
        "LocalVolumes": "0",
        "Networks": ",".join(container.network_names),
    }


def _label_of(labels: dict[str, str]) -> Callable[[str], str]:
    return lambda name: labels.get(name, "")


def _size(engine: Engine, container: Container) -> str:
    """Return the bytes of the writable layer, and with the image's, as Docker shows them."""
    own = gone.written(engine, container.id)
    image = engine.index.get(container.image_id).size
    return f"{human.size(own)} (virtual {human.size(own + image)})"


COMMAND = Command(
    name="ps",
    summary="List containers",
    usage=("[OPTIONS]",),
    run=run,
    examples=(
        ("knarr ps",
         "List the containers that run"),
        ("knarr ps -a -f status=exited -f label=tier=web",
         "List those that have ended, with a label"),
        ("knarr ps -aq",
         "List the ids of all"),
    ),
    flags=(
        Flag("all", SWITCH, "Show all containers, not only running ones", short="a", example="-a"),
        filterargs.flag("Only containers for which a condition holds: ancestor, before, exited, "
                        "expose, health, id, is-task, label, name, network, publish, since, "
                        "status, volume", "-f status=exited"),
        listing.FORMAT,
        Flag("last", NUMBER, "Show the last n created containers, running or not", short="n",
             default=_NOT_GIVEN, example="-n 5"),
        Flag("latest", SWITCH, "Show the last created container, running or not", short="l",
             example="-l"),
        Flag("no-trunc", SWITCH, "Show ids and commands in full", example="--no-trunc"),
        Flag("quiet", SWITCH, "Only show ids", short="q", example="-aq"),
        Flag("size", SWITCH, "Show the size of what containers have written", short="s",
             example="-s"),
    ),
    spellings=("container ls", "container list", "container ps"),
)  # fmt: skip
