"""``knarr rmi`` and ``knarr image prune``, by Docker's rules.

By name: the name goes; the image itself only with its last name. By id: the image
goes with its name; with several names only when forced. An image that a container was
made from keeps its bytes for as long as there is the container: forced, it loses only
its names, and is dangling once the container is gone. Docker deletes the image of a
stopped container when forced, after which the container has none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from knarr.content import digest as digests
from knarr.errors import Conflict
from knarr.images import garbage
from knarr.images.context import Context
from knarr.images.filters import PRUNE_KEYS, Filters, boolean, compile_filters
from knarr.images.find import find, is_id
from knarr.images.index import ImageRecord
from knarr.images.reference import Reference

Action = tuple[str, str]
"""``("Untagged", name)`` or ``("Deleted", digest)``, as Docker prints them."""

IsRunning = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What ``prune`` did: its actions and the bytes of disk that came free."""

    actions: tuple[Action, ...]
    reclaimed: int


def remove(
    context: Context, name: str, *, force: bool, no_prune: bool, is_running: IsRunning
) -> list[Action]:
    """Remove a name, or an image by id, and return what was done in order.

    ``no_prune`` keeps blobs and unpacked layers until the next prune. Raises NotFound,
    and Conflict when other names or containers hold the image.
    """
    record = find(context.index, name)
    tags = context.index.tags(record.id)
    by_id = is_id(name, record) and context.index.resolve(_canonical(name)) is None
    if by_id or "@" in name:
        _check_by_id(context, record, tags, force=force, is_running=is_running)
        return _delete(context, record, keep_bytes=no_prune)
    reference = Reference.parse(name)
    users = context.index.in_use(record.id)
    if len(tags) <= 1 and users and not force:
        raise Conflict(
            f"conflict: unable to remove repository reference {reference.familiar()!r} (must force)"
            f" - container {users[0][:12]} is using its referenced image {_short(record.id)}"
        )
    if len(tags) > 1:
        context.index.untag(str(reference))
        return [("Untagged", reference.familiar())]
    return _delete(context, record, keep_bytes=no_prune)


def prune(context: Context, *, all_unused: bool, filters: Filters) -> PruneResult:
    """Remove images that no container uses: dangling ones, or with ``all_unused`` all.

    Filters: dangling, label, label!, until. Blobs and layers that nothing refers to go too.
    """
    rest = {key: value for key, value in filters.items() if key != "dangling"}
    if filters.get("dangling"):
        all_unused = not boolean("dangling", filters["dangling"])
    test = compile_filters(context, rest, PRUNE_KEYS)
    actions: list[Action] = []
    for record in context.index.list():
        if context.index.in_use(record.id) or not test(record):
            continue
        if all_unused or not context.index.tags(record.id):
            with contextlib.suppress(Conflict):  # a container was made from it just now
                actions += _delete(context, record, keep_bytes=True)
    return PruneResult(tuple(actions), garbage.sweep(context))


def _check_by_id(
    context: Context,
    record: ImageRecord,
    tags: list[str],
    *,
    force: bool,
    is_running: IsRunning,
) -> None:
    short = _short(record.id)
    for user in context.index.in_use(record.id):
        if is_running(user):
            raise Conflict(
                f"conflict: unable to delete {short} (cannot be forced)"
                f" - image is being used by running container {user[:12]}"
            )
        if not force:
            raise Conflict(
                f"conflict: unable to delete {short} (must be forced)"
                f" - image is being used by stopped container {user[:12]}"
            )
    if not force and len(tags) > 1:
        raise Conflict(
            f"conflict: unable to delete {short} (must be forced)"
            " - image is referenced in multiple repositories"
        )


def _delete(context: Context, record: ImageRecord, *, keep_bytes: bool) -> list[Action]:
    names = context.index.tags(record.id)
    actions = [("Untagged", Reference.parse(name).familiar()) for name in names]
    if context.index.in_use(record.id):
        # Forced. Its containers can still be started, so the image stays, without a name.
        for name in names:
            context.index.untag(name)
        return actions
    context.index.remove(record.id)
    actions.append(("Deleted", record.id))
    chain = digests.chain_ids(record.diff_ids)
    shared: set[str] = set()
    for other in context.index.list():
        shared.update(digests.chain_ids(other.diff_ids))
    actions += [("Deleted", chain_id) for chain_id in reversed(chain) if chain_id not in shared]
    if not keep_bytes:
        garbage.collect(context, record.blobs)
        garbage.collect_layers(context, chain)
    return actions


def _canonical(name: str) -> str:
    # 64 hex digits and "sha256:…" are never names; anything else that found an image parses.
    bare = name.removeprefix("sha256:")
    return name if len(bare) == 64 or bare != name else str(Reference.parse(name))


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]
