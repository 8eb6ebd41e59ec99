"""``--filter name=value``, as listings and prune commands take it."""

from __future__ import annotations

from collections.abc import Iterable

from knarr.cli.flags import Flag, Kind


def _filter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return name.strip().lower(), value.strip()


FILTERS = Kind("filter", _filter, many=True)


def flag(what: str, example: str) -> Flag:
    """Return the flag ``-f, --filter`` of one listing."""
    return Flag("filter", FILTERS, what, short="f", example=example)


def by_name(given: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the values of each filter, in order."""
    found: dict[str, list[str]] = {}
    for name, value in given:
        found.setdefault(name, []).append(value)
    return found
