"""``knarr image diff``: what is otherwise in another image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.cli import human, listing
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import TEXT, Args, Flag

if TYPE_CHECKING:
    from knarr.images.comparing import Comparison, ConfigChange, FileChange

_NARROWEST = 8


def run(context: Context, args: Args) -> int:
    """Print changed files, then changed settings, then how much that is."""
    found = context.engine.images.diff(*args.rest, platform=args.text("platform"))
    template = args.text("format")
    if template not in (None, "", "table"):
        print(listing.show_one(_object(args.rest, found), template), end="")
        return 0
    if found.files:
        lines = [("CHANGE", "SIZE", "PATH"), *map(_file_line, found.files)]
        print(listing.align(lines, _NARROWEST))
    if found.config:
        print(listing.align([("SETTING", "BEFORE", "AFTER"), *map(_setting_line, found.config)]))
    print(_summary(found))
    return 0


def _file_line(change: FileChange) -> tuple[str, str, str]:
    grown = change.after - change.before
    size = f"{'-' if grown < 0 else '+'}{human.size(abs(grown))}" if grown else ""
    what = f" ({', '.join(change.what)})" if change.what else ""
    return change.kind, size, human.visible(change.path) + what


def _setting_line(change: ConfigChange) -> tuple[str, str, str]:
    return tuple(  # type: ignore[return-value]
        human.visible(text if text is not None else "-")
        for text in (change.field, change.before, change.after)
    )


def _summary(found: Comparison) -> str:
    kinds = [each.kind for each in found.files]
    grown = sum(each.after - each.before for each in found.files)
    size = f"{'-' if grown < 0 else '+'}{human.size(abs(grown))}"
    counts = f"{kinds.count('A')} added, {kinds.count('C')} changed, {kinds.count('D')} removed"
    one, other = found.layers
    return f"{counts}: {size}; layers: {found.shared} shared, {one} and {other} in all"


def _object(names: list[str], found: Comparison) -> dict[str, Any]:
    return {
        "Before": names[0],
        "After": names[1],
        "Files": [
            {
                "Change": each.kind,
                "Path": _printable(each.path),
                "SizeBefore": each.before,
                "SizeAfter": each.after,
                "What": list(each.what),
            }
            for each in found.files
        ],
        "Config": [
            {"Setting": each.field, "Before": each.before, "After": each.after}
            for each in found.config
        ],
        "Layers": {"Shared": found.shared, "Before": found.layers[0], "After": found.layers[1]},
    }


def _printable(path: str) -> str:
    """Return a path with bytes that are no text as escapes."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


COMMAND = Command(
    name="image diff",
    summary="Show what is otherwise in another image",
    usage=("[OPTIONS] IMAGE IMAGE",),
    run=run,
    examples=(
        ("knarr image diff app:1 app:2",
         "Show which files and settings changed from one to the next"),
        ("knarr image diff --format '{{range .Files}}{{println .Path}}{{end}}' app:1 app:2",
         "Print only the paths"),
    ),
    flags=(
        Flag("format", TEXT, "Format output using a custom template: 'table', 'json' or 'TEMPLATE' "
             "(a Go template)", example="--format json"),
        Flag("platform", TEXT, "Platform to compare of images that have several",
             example="--platform linux/arm64"),
    ),
    arguments=(2, 2),
    details="""\
A is what only the second image has, D what only the first has (a directory stands for all
in it), C what both have and is otherwise: content, type, mode, owner, extended attributes.
Times of files do not count, nor does history. Layers are read as they are stored; nothing is
unpacked.""",
)  # fmt: skip
