"""``knarr images``: list images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.cli import filterargs, human, listing
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag

if TYPE_CHECKING:
    from knarr.images.service import Image

HEADINGS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "SIZE",
    "Containers": "CONTAINERS",
}
_COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size")
_WITH_DIGEST = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")
_NONE = "<none>"


def run(context: Context, args: Args) -> int:
    """Print one line for each name of each image, the newest image first."""
    filters = filterargs.by_name(args.many("filter"))
    if args.rest:
        filters.setdefault("reference", []).append(args.rest[0])
    cut = not args.on("no-trunc")
    if args.on("tree"):
        return _tree(context, filters, cut=cut)
    found = [
        row
        for image in context.engine.images.list(filters)
        for row in rows(image, cut=cut, wanted=args.rest[0] if args.rest else None)
    ]
    if args.on("quiet"):
        found = list({row["ID"]: row for row in reversed(found)}.values())[::-1]
    columns = _WITH_DIGEST if args.on("digests") else _COLUMNS
    layout = listing.Layout(HEADINGS, columns)
    print(listing.show(found, layout, args.text("format"), quiet=args.on("quiet")), end="")
    return 0


def _tree(context: Context, filters: dict[str, list[str]], *, cut: bool) -> int:
    """Print each image with the platforms that are here of it below."""
    lines = [["IMAGE", "ID", "SIZE", "IN USE"]]
    images = context.engine.images
    for image in images.list(filters):
        below = images.platforms(image)
        used = [bool(context.engine.index.in_use(each.record.id)) for each in below]
        total = sum({each.record.id: each.record.size for each in below}.values())
        shown = ", ".join(image.tags) or _NONE
        image_id = image.short_id if cut else image.id
        lines.append([shown, image_id, human.size(total), _used(any(used))])
        for position, (each, in_use) in enumerate(zip(below, used, strict=True), 1):
            branch = "└─" if position == len(below) else "├─"
            image_id = each.record.id.removeprefix("sha256:")[:12] if cut else each.record.id
            lines.append([f"{branch} {each.platform}", image_id, human.size(each.record.size),
                          _used(in_use)])  # fmt: skip
    print(listing.align(lines), end="")
    return 0


def _used(used: bool) -> str:
    return "yes" if used else ""


def rows(image: Image, *, cut: bool, wanted: str | None = None) -> list[dict[str, Any]]:
    """Return a row for each name of an image, one for an image without; wanted: only for it."""
    names = [split(tag) for tag in image.tags if wanted is None or _asked_for(tag, wanted)]
    digests = _digests(image)
    # What was pulled by digest has no tag in its repository.
    untagged = set(digests) - {split(tag)[0] for tag in image.tags}
    names += [(each, _NONE) for each in sorted(untagged) if wanted in (None, each)]
    age = human.seconds_since(image.created)
    size = human.size(image.size)
    shared = {
        "ID": image.short_id if cut else image.id,
        "CreatedSince": "N/A" if age is None else human.ago(age),
        "CreatedAt": human.local_time(image.created) or "N/A",
        "Size": size,
        "VirtualSize": size,
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "Containers": "N/A",
    }
    return [
        {
            "Repository": repository,
            "Tag": tag,
            "Digest": digests.get(repository) or _NONE,
            **shared,
        }
        for repository, tag in names or [(_NONE, _NONE)]
    ]


def _digests(image: Image) -> dict[str, str]:
    """Return the digests that repositories have an image by, by their familiar names."""
    from knarr.images.reference import Reference

    found = (Reference.parse(name) for name in image.record.repo_digests)
    return {each.familiar_name: each.digest or _NONE for each in found}


def _asked_for(tag: str, wanted: str) -> bool:
    """Return whether a name of the image is the one asked for; patterns ask for all its names."""
    return "*" in wanted or "?" in wanted or "[" in wanted or wanted in (tag, split(tag)[0])


def split(name: str) -> tuple[str, str]:
    """Return (repository, tag) of a familiar name; a digest counts as no tag."""
    name = name.partition("@")[0]
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, _NONE)


COMMAND = Command(
    name="images",
    summary="List images",
    usage=("[OPTIONS] [REPOSITORY[:TAG]]",),
    run=run,
    examples=(
        ("knarr images",
         "List images"),
        ("knarr images -q -f dangling=true",
         "List the ids of those without a name"),
        ("knarr images 'debian:*'",
         "List some by name"),
    ),
    flags=(
        Flag("digests", SWITCH, "Show digests", example="--digests"),
        filterargs.flag("Only images for which a condition holds: before, dangling, label, "
                        "reference, since, until", "-f dangling=true"),
        listing.FORMAT,
        Flag("no-trunc", SWITCH, "Show ids in full", example="--no-trunc"),
        Flag("quiet", SWITCH, "Only show image ids", short="q", example="-q"),
        Flag("tree", SWITCH, "Show the platforms of each image", example="--tree"),
    ),
    arguments=(0, 1),
    missing={
        "all": "knarr keeps no intermediate images; plain 'knarr images' shows all there are",
        "a": "knarr keeps no intermediate images; plain 'knarr images' shows all there are",
    },
    spellings=("image ls", "image list"),
)  # fmt: skip
