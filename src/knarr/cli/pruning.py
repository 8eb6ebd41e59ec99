"""What the prune commands remove, and how they tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knarr.engine.engine import Engine

Filters = Mapping[str, Sequence[str]]


def containers(engine: Engine, filters: Filters) -> int:
    """Remove containers that do not run, print their ids; return the bytes freed."""
    removed, freed = engine.containers.prune(filters)
    if removed:
        print("Deleted Containers:")
        print("\n".join(removed), end="\n\n")
    return freed


def networks(engine: Engine, filters: Filters) -> None:
    """Remove networks that no running container is on, print their names."""
    removed = engine.networks.prune(filters)
    if removed:
        print("Deleted Networks:")
        print("\n".join(removed), end="\n\n")


def images(
    engine: Engine,
    filters: Filters,
    *,
    everything: bool,
    keep_last: int | None = None,
    unused_for: float | None = None,
    dry_run: bool = False,
) -> int:
    """Remove images that nothing uses, print what was done; return the bytes freed.

    everything: also those with a name. keep_last, unused_for (seconds): which stay nevertheless.
    dry_run: only say what would be done.
    """
    result = engine.images.prune(
        all=everything,
        filters=filters,
        keep_last=keep_last,
        unused_for=unused_for,
        dry_run=dry_run,
    )
    if result.actions:
        print("Would delete images:" if dry_run else "Deleted Images:")
        for action, what in result.actions:
            print(f"{action.lower()}: {what}")
        print()
    return result.reclaimed
