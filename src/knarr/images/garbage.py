"""Taking away the blobs and layers that no image refers to any more.

What is needed is found by reachability: from the records of images and of indexes, and from the
notes of pulls that run or may go on (see ``interrupted``). A compressed layer is not, where its tar
is kept in its place (see ``tars``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from knarr.content import digest as digests
from knarr.content import parts
from knarr.errors import Conflict, NotFound
from knarr.images import interrupted, lastuse, packednotes, tars
from knarr.images.context import Context
from knarr.images.index import ImageIndex


@dataclass(frozen=True, slots=True)
class Needed:
    """Digests of the blobs and chain ids of the layers that something refers to."""

    blobs: set[str]
    layers: set[str]


def needed(context: Context, index: ImageIndex | None = None, *, ended: bool = True) -> Needed:
    """Return what records, indexes and pulls refer to.

    index: instead of the context's. Without ``ended``, pulls that were interrupted want nothing.
    """
    # In this order: a pull writes its record before it removes its note.
    kept = interrupted.kept(context.store, ended=ended)
    found = Needed(kept.blobs, kept.layers)
    index = index or context.index
    for record in index.list():
        found.blobs.update((record.manifest_digest, record.config_digest))
        found.layers.update(digests.chain_ids(record.diff_ids))
    for each in index.indexes():
        found.blobs.update(each.documents)
    for layer in _layers(index):
        tar = tars.of(context.store, layer)
        if tar is not None:
            found.blobs.add(tar)
        if tar is None or context.keep_compressed:
            found.blobs.add(layer)
    return found


def _layers(index: ImageIndex) -> set[str]:
    """Return the digests of all layers, as records and indexes have them."""
    found = {layer.digest for record in index.list() for layer in record.layers}
    for each in index.indexes():
        found.update(each.layers)
    return found


def collect(context: Context, candidates: Iterable[str]) -> int:
    """Delete those of the blobs that nothing refers to and return the bytes freed.

    Nothing is deleted while somebody stores or unpacks (see ``locking``), but for pulls:
    what is left then goes with the next prune.
    """
    with context.lock.exclusive() as free:
        return _delete_blobs(context, candidates, needed(context)) if free else 0


def collect_layers(context: Context, chain: Iterable[str]) -> int:
    """Remove those unpacked layers that no record and no container needs; return bytes freed."""
    with context.lock.exclusive() as free:
        return _delete_layers(context, set(chain), needed(context)) if free else 0


def sweep(context: Context, keep_interrupted: float = 0.0) -> int:
    """Delete every blob and unpacked layer that nothing refers to; return the bytes freed.

    Also finishes what dead writers left behind in the store's ingest directory.
    keep_interrupted: what pulls brought in that ended early stays if it is not older than
    so many seconds.
    """
    with context.lock.exclusive(patience=1.0) as free:
        if not free:
            return 0
        context.store.cleanup()
        tars.finish(context)
        freed = interrupted.forget(context.store, keep_interrupted)
        found = needed(context)
        tars.forget(context.store, _layers(context.index) | found.blobs)
        freed += parts.remove_old(context.store, 0, _wanted_parts(context))
        packednotes.forget(context.store, {d for r in context.index.list() for d in r.diff_ids})
        lastuse.sweep(context.store.root, {record.id for record in context.index.list()})
        # Layers first: one that is kept as its blob's bytes frees them with the blob.
        freed += _delete_layers(context, set(context.driver.list_layers()), found)
        return freed + _delete_blobs(context, [blob.digest for blob in context.store.walk()], found)


def _wanted_parts(context: Context) -> set[str]:
    """Return the digests of those parts that are not kept as tars in the meantime."""
    found = {digest for digest in parts.sizes(context.store) if digests.is_valid(digest)}
    return {digest for digest in found if tars.replaces(context, digest) is None}


def would_free(context: Context, index: ImageIndex) -> int:
    """Return the bytes that ``sweep`` would free if the index were this one."""
    found = needed(context, index, ended=False)
    freed = sum(size for digest, size in parts.sizes(context.store).items()
                if digest not in found.blobs)  # fmt: skip
    kept = found.blobs - tars.to_finish(context)
    freed += sum(blob.size for blob in context.store.walk() if blob.digest not in kept)
    for chain_id in context.driver.list_layers():
        if chain_id not in found.layers:
            try:
                freed += context.driver.layer_disk(chain_id)
            except NotFound:
                continue  # removed since it was listed
    return freed


def _delete_blobs(context: Context, candidates: Iterable[str], found: Needed) -> int:
    freed = 0
    for digest in set(candidates) - found.blobs:
        try:
            size = context.store.stat(digest)
            context.store.delete(digest)
        except NotFound:
            continue  # never stored, or somebody else was quicker
        freed += size
    return freed


def _delete_layers(context: Context, candidates: set[str], found: Needed) -> int:
    left = (candidates - found.layers) & set(context.driver.list_layers())
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
