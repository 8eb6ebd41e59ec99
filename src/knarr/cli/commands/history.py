"""``knarr history``: the steps an image was made in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.cli import human, listing
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, TEXT, Args, Flag

if TYPE_CHECKING:
    from knarr.images.history import HistoryLine

_LAYOUT = listing.Layout(
    {
        "ID": "IMAGE",
        "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT",
        "CreatedBy": "CREATED BY",
        "Size": "SIZE",
        "Comment": "COMMENT",
    },
    ("ID", "CreatedSince", "CreatedBy", "Size", "Comment"),
)


def run(context: Context, args: Args) -> int:
    """Print one line for each step, the newest first."""
    steps = context.engine.images.history(args.rest[0], args.text("platform"))
    plain, cut = args.on("human"), not args.on("no-trunc")
    rows = [_row(step, readable=plain, cut=cut) for step in steps]
    print(listing.show(rows, _LAYOUT, args.text("format"), quiet=args.on("quiet")), end="")
    return 0


def _row(step: HistoryLine, *, readable: bool, cut: bool) -> dict[str, Any]:
    age = human.seconds_since(step.created)
    created_by = human.visible(step.created_by.replace("\t", " ").replace("\n", " "))
    created = human.visible(step.created)
    since = "N/A" if age is None else human.ago(age)
    return {
        "ID": step.id.removeprefix("sha256:")[:12] if cut and step.id != "<missing>" else step.id,
        "CreatedAt": created,
        "CreatedSince": since if readable else created,
        "CreatedBy": human.ellipsis(created_by, 45) if cut else created_by,
        "Size": human.size(step.size) if readable else str(step.size),
        "Comment": human.visible(step.comment),
        "Tags": ",".join(step.tags),
    }


COMMAND = Command(
    name="history",
    summary="Show the history of an image",
    usage=("[OPTIONS] IMAGE",),
    run=run,
    examples=(
        ("knarr history debian:bookworm",
         "Show the steps that made an image"),
        ("knarr history --no-trunc --format '{{.CreatedBy}}' busybox",
         "Show the commands in full"),
    ),
    flags=(
        listing.FORMAT,
        Flag("human", SWITCH, "Print sizes and times for people", short="H", default=True,
             example="--human=false"),
        Flag("no-trunc", SWITCH, "Show ids and commands in full", example="--no-trunc"),
        Flag("platform", TEXT, "Show this platform of an image that has several",
             example="--platform linux/arm64"),
        Flag("quiet", SWITCH, "Only show image ids", short="q", example="-q"),
    ),
    arguments=(1, 1),
    spellings=("image history",),
)  # fmt: skip
