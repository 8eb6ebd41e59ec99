"""``knarr search``: repositories of a registry."""

from __future__ import annotations

from typing import Any

from knarr.cli import filterargs, human, listing
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import NUMBER, SWITCH, Args, Flag
from knarr.cli.listing import Layout
from knarr.errors import InvalidArgument

_WIDTH = 45
LAYOUT = Layout(
    {
        "Name": "NAME",
        "Description": "DESCRIPTION",
        "StarCount": "STARS",
        "IsOfficial": "OFFICIAL",
    },
    ("Name", "Description", "StarCount", "IsOfficial"),
    quiet="Name",
)
_FILTERS = ("is-automated", "is-official", "stars")


def run(context: Context, args: Args) -> int:
    """Print a table of what is found."""
    del context
    from knarr.registry import searching
    from knarr.registry.repository import Registry

    filters = filterargs.by_name(args.many("filter"))
    official, stars, none = _conditions(filters)
    host, term = searching.split(args.rest[0])
    with Registry(host) as registry:
        found = [] if none else searching.search(registry, term, args.number("limit") or 0)
    as_json = listing.is_json(args.text("format"))
    rows = [
        _row(each, trunc=not args.on("no-trunc"), as_json=as_json)
        for each in found
        if each.stars >= stars and (official is None or each.is_official == official)
    ]
    print(listing.show(rows, LAYOUT, args.text("format")), end="")
    return 0


def _conditions(filters: dict[str, list[str]]) -> tuple[bool | None, int, bool]:
    """Return (official or not, least stars, whether nothing can fit). Raises InvalidArgument."""
    for name in filters:
        if name not in _FILTERS:
            raise InvalidArgument(f"invalid filter '{name}'")
    stars = [_number(text) for text in filters.get("stars", ())]
    official = [_boolean("is-official", text) for text in filters.get("is-official", ())]
    automated = [_boolean("is-automated", text) for text in filters.get("is-automated", ())]
    return (official[0] if official else None), max(stars, default=0), any(automated)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidArgument(f"invalid filter 'stars={text}'") from None


def _boolean(name: str, text: str) -> bool:
    if text.lower() not in ("1", "true", "0", "false"):
        raise InvalidArgument(f"invalid filter '{name}={text}'")
    return text.lower() in ("1", "true")


def _row(found: Any, *, trunc: bool, as_json: bool) -> dict[str, Any]:
    description = human.visible(found.description.replace("\n", " ").replace("\r", " "))
    if trunc and len(description) > _WIDTH:
        description = description[: _WIDTH - 1] + "…"
    mark = ("true" if found.is_official else "false") if as_json else (
        "[OK]" if found.is_official else ""
    )  # fmt: skip
    return {
        "Name": human.visible(found.name),
        "Description": description,
        "StarCount": str(found.stars),
        "IsOfficial": mark,
    }


COMMAND = Command(
    name="search",
    summary="Search a registry for images: Docker Hub, or one that lists its repositories",
    usage=("[OPTIONS] TERM",),
    run=run,
    examples=(
        ("knarr search --limit 5 nginx",
         "Search Docker Hub"),
        ("knarr search localhost:5000/app",
         "List the repositories of another registry that have a word in their name"),
    ),
    flags=(
        filterargs.flag("Filter output: is-official=true, stars=10", "-f is-official=true"),
        listing.FORMAT,
        Flag("limit", NUMBER, "Max number of search results, 1 to 100 (default 25)",
             example="--limit 5"),
        Flag("no-trunc", SWITCH, "Don't truncate output", example="--no-trunc"),
    ),
    arguments=(1, 1),
)  # fmt: skip
