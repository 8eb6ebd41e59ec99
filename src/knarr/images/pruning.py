"""``knarr image prune``, by Docker's rules and a few more: which images go, and what that frees.

Docker's choice is by age and labels. What people ask for beside it is to keep the newest images of
each repository, and those that were used of late; both only make the choice smaller.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from knarr.errors import Conflict, InvalidArgument, NotFound
from knarr.images import garbage, lastuse
from knarr.images.context import Context
from knarr.images.filters import PRUNE_KEYS, Filters, boolean, compile_filters, created_at
from knarr.images.index import ImageRecord
from knarr.images.reference import Reference
from knarr.images.rehearsal import Copy
from knarr.images.remove import Action, PruneResult, Taken, delete
from knarr.images.target import hidden_ids, led_by, members_of

# Of the ids that belong to one image for several platforms: whether all of them may go.
_Test = Callable[[ImageRecord, set[str]], bool]


@dataclass(frozen=True, slots=True)
class Wish:
    """Which images to remove.

    all_unused: every one that no container uses, else only dangling ones. filters: Docker's.
    keep_last: so many images of each repository stay, the newest. unused_for: seconds; what was
    used since stays. Both count for images with names, so they imply all_unused, unless the
    filter ``dangling`` says otherwise.
    """

    all_unused: bool
    filters: Filters
    keep_last: int | None = None
    unused_for: float | None = None


def prune(context: Context, wish: Wish) -> PruneResult:
    """Remove images, and blobs and layers that nothing refers to then.

    Raises InvalidArgument for a filter or number that cannot be.
    """
    actions = _remove(context, wish)
    return PruneResult(tuple(actions), garbage.sweep(context))


def rehearse(context: Context, wish: Wish) -> PruneResult:
    """Return what ``prune`` would do, and free, if it were done now; errors as there."""
    copy = Copy(context.index)
    actions = _remove(replace(context, index=copy), wish)
    return PruneResult(tuple(actions), garbage.would_free(context, copy))


def _remove(context: Context, wish: Wish) -> list[Action]:
    rest = {key: value for key, value in wish.filters.items() if key != "dangling"}
    all_unused = wish.all_unused or wish.keep_last is not None or wish.unused_for is not None
    if wish.filters.get("dangling"):
        all_unused = not boolean("dangling", wish.filters["dangling"])
    test = _test(context, wish, rest)
    actions: list[Action] = []
    while some := _once(context, test, all_unused=all_unused):
        actions += some
    return actions


def _test(context: Context, wish: Wish, filters: Filters) -> _Test:
    meets = compile_filters(context, filters, PRUNE_KEYS)
    kept = _newest(context, wish.keep_last) if wish.keep_last is not None else set()
    limit = float("inf") if wish.unused_for is None else time.time() - wish.unused_for

    def test(record: ImageRecord, ids: set[str]) -> bool:
        return meets(record) and not ids & kept and _last_use(context, ids) <= limit

    return test


def _newest(context: Context, count: int) -> set[str]:
    """Return the ids of the newest images of each repository."""
    if count < 0:
        raise InvalidArgument(f"invalid number of images to keep: {count}")
    repositories: dict[str, set[str]] = {}
    for name, image_id in context.index.all_tags().items():
        repositories.setdefault(Reference.parse(name).name, set()).add(image_id)
    kept: set[str] = set()
    for ids in repositories.values():
        records = [record for each in ids for record in context.index.find(each)]
        # Images that are made to be the same anywhere may all have one date: then arrival counts.
        records.sort(key=lambda each: (created_at(each), lastuse.arrival(context.store, each)))
        kept.update(record.id for record in records[len(records) - min(count, len(records)) :])
    return kept


def _last_use(context: Context, ids: Iterable[str]) -> float:
    found = (record for each in ids for record in context.index.find(each))
    return max((lastuse.when(context.store, record) for record in found), default=0.0)


def _once(context: Context, test: _Test, *, all_unused: bool) -> list[Action]:
    actions: list[Action] = []
    hidden = hidden_ids(context.index)
    for record in context.index.list():
        if record.id in hidden:
            continue
        ids = {record.id}
        for found in led_by(context.index, record.id):
            ids.update(member.image_id for member in found.members)
        if any(context.index.in_use(each) for each in ids) or not test(record, ids):
            continue
        if all_unused or not context.index.tags(record.id):
            with contextlib.suppress(Conflict, NotFound):  # used or removed just now
                actions += delete(context, record, keep_bytes=True)
    # What a name stood for before it moved on, where the image itself has other names.
    named = set(context.index.index_names().values())
    for found in context.index.indexes():
        members = members_of(context.index, found)
        first = found.main_id()
        if found.digest not in named and (not members or (first and context.index.tags(first))):
            taken = Taken(context)
            taken.index(found)
            actions += taken.actions or [("Deleted", found.digest)]
    return actions
