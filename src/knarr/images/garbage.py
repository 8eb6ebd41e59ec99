"""Taking away the blobs and layers that no image refers to any more."""

from __future__ import annotations

from collections.abc import Iterable

from knarr.content import digest as digests
from knarr.errors import Conflict, NotFound
from knarr.images import interrupted, packednotes
from knarr.images.context import Context


def collect(context: Context, candidates: Iterable[str]) -> int:
    """Delete those of the blobs that no record refers to and return the bytes freed.

    Nothing is deleted while somebody stores or unpacks (see ``locking``):
    what is left then goes with the next prune.
    """
    with context.lock.exclusive() as free:
        return _delete_blobs(context, candidates) if free else 0


def collect_layers(context: Context, chain: Iterable[str]) -> int:
    """Remove those unpacked layers that no record and no container needs; return bytes freed."""
    with context.lock.exclusive() as free:
        return _delete_layers(context, set(chain)) if free else 0


def sweep(context: Context, keep_interrupted: float = 0.0) -> int:
    """Delete every blob and unpacked layer that nothing refers to; return the bytes freed.

    Also finishes what dead writers left behind in the store's ingest directory.
    keep_interrupted: what pulls brought in that ended early stays if it is not older than
    so many seconds.
    """
    with context.lock.exclusive() as free:
        if not free:
            return 0
        context.store.cleanup()
        interrupted.forget(context.store, keep_interrupted)
        packednotes.forget(context.store, {d for r in context.index.list() for d in r.diff_ids})
        freed = _delete_blobs(context, [blob.digest for blob in context.store.walk()])
        return freed + _delete_layers(context, set(context.driver.list_layers()))


def _delete_blobs(context: Context, candidates: Iterable[str]) -> int:
    needed = {digest for record in context.index.list() for digest in record.blobs}
    needed.update(digest for found in context.index.indexes() for digest in found.blobs)
    needed |= interrupted.kept(context.store).blobs
    freed = 0
    for digest in set(candidates) - needed:
        try:
            size = context.store.stat(digest)
            context.store.delete(digest)
        except NotFound:
            continue  # never stored, or somebody else was quicker
        freed += size
    return freed


def _delete_layers(context: Context, candidates: set[str]) -> int:
    needed = interrupted.kept(context.store).layers
    for record in context.index.list():
        needed.update(digests.chain_ids(record.diff_ids))
    left = (candidates - needed) & set(context.driver.list_layers())
    freed, any_gone = 0, False
    # A layer goes only after those on top of it, whose order the driver alone knows.
    while gone := {chain_id: size for chain_id in left if (size := _try(context, chain_id)) >= 0}:
        freed += sum(gone.values())
        left -= set(gone)
        any_gone = True
    if any_gone:
        context.driver.purge_trash()
    return freed


def _try(context: Context, chain_id: str) -> int:
    try:
        size = context.driver.layer_disk(chain_id)
        context.driver.remove_layer(chain_id)
    except Conflict:
        return -1
    except NotFound:
        return 0
    return size
