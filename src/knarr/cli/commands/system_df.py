"""``knarr system df``: what images and containers take on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from knarr.cli import human, listing
from knarr.cli.command import Command
from knarr.cli.commands import images, ps
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag

if TYPE_CHECKING:
    from knarr.engine.diskusage import DiskUsage

_SUMMARY = listing.Layout(
    {
        "Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE",
        "Reclaimable": "RECLAIMABLE",
    },
    ("Type", "TotalCount", "Active", "Size", "Reclaimable"),
)  # fmt: skip
_IMAGES = listing.Layout(
    images.HEADINGS,
    ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"),
)
_CONTAINERS = listing.Layout(
    ps.HEADINGS,
    ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"),
)
_VOLUMES = listing.Layout(
    {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}, ("Name", "Links", "Size")
)
_CACHE = listing.Layout(
    {
        "ID": "CACHE ID", "CacheType": "CACHE TYPE", "Size": "SIZE", "CreatedSince": "CREATED",
        "LastUsedSince": "LAST USED", "UsageCount": "USAGE", "Shared": "SHARED",
    },
    ("ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared"),
)  # fmt: skip


def run(context: Context, args: Args) -> int:
    """Print a summary, or with -v each image and container."""
    found = context.engine.disk_usage()
    template = args.text("format")
    if args.on("verbose"):
        _verbose(found, template)
    else:
        print(listing.show(_summary(found), _SUMMARY, template), end="")
    return 0


def _summary(found: DiskUsage) -> list[dict[str, str]]:
    used = sum(1 for _, usage in found.images if usage.containers)
    active = sum(1 for each in found.containers if each.active)
    return [
        _line("Images", len(found.images), used, found.images_size, found.images_reclaimable),
        _line("Containers", len(found.containers), active, found.containers_size,
              found.containers_reclaimable),
        # There are neither yet: what is not there takes no room.
        _line("Local Volumes", 0, 0, 0, 0),
        _line("Build Cache", 0, 0, 0, 0),
    ]  # fmt: skip


def _line(kind: str, count: int, active: int, size: int, reclaimable: int) -> dict[str, str]:
    free = human.size(reclaimable)
    return {
        "Type": kind,
        "TotalCount": str(count),
        "Active": str(active),
        "Size": human.size(size),
        "Reclaimable": f"{free} ({reclaimable * 100 // size}%)" if size else free,
    }


def _verbose(found: DiskUsage, template: str | None) -> None:
    cut = template in (None, "", "table")
    rows: dict[str, list[dict[str, Any]]] = {
        "Images": _image_rows(found, cut=cut),
        "Containers": [
            {**ps.row(each.container, each.container.state, cut=cut), "Size": human.size(each.size)}
            for each in found.containers
        ],
        "Volumes": [],
        "BuildCache": [],
    }
    if not cut:
        if listing.is_json(template):
            for row in rows["Containers"]:
                del row["Label"]  # what templates call
        print(listing.show_one(rows, (template or "").removeprefix("table ")), end="")
        return
    tables: Sequence[tuple[str, listing.Layout, str]] = (
        ("Images space usage:", _IMAGES, "Images"),
        ("\nContainers space usage:", _CONTAINERS, "Containers"),
        ("\nLocal Volumes space usage:", _VOLUMES, "Volumes"),
        ("\nBuild cache usage: 0B", _CACHE, "BuildCache"),
    )
    for title, layout, name in tables:
        print(f"{title}\n\n{listing.show(rows[name], layout, None)}", end="")
        if name == "Images" and found.images_partial:
            print(f"\nLayers that did not arrive whole: {human.size(found.images_partial)}")


def _image_rows(found: DiskUsage, *, cut: bool) -> list[dict[str, Any]]:
    """Return one row for each image, under the first of its names."""
    return [
        {
            **images.rows(image, cut=cut)[0],
            "Size": human.size(usage.size),
            "VirtualSize": human.size(usage.size),
            "SharedSize": human.size(usage.shared),
            "UniqueSize": human.size(usage.unique),
            "Containers": str(usage.containers),
        }
        for image, usage in found.images
    ]


COMMAND = Command(
    name="system df",
    summary="Show how much disk space images and containers take",
    usage=("[OPTIONS]",),
    run=run,
    examples=(
        ("knarr system df", "Show how much disk space there is to be had"),
        ("knarr system df -v", "Show it for each image and container"),
    ),
    flags=(
        listing.FORMAT,
        Flag("verbose", SWITCH, "Show each image and container", short="v", example="-v"),
    ),
    details="""\
SIZE of images is what they take on disk: their layers as they came and, once a
container was made from them, unpacked. Each byte counts once, whichever images
share it. What has come of layers whose pull was interrupted counts too; -v tells how
much that is. RECLAIMABLE is what 'knarr system prune -a' would free.""",
)
