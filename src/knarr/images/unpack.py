"""Layers from the content store into the snapshot driver, when an image is first used."""

from __future__ import annotations

from knarr.content import digest as digests
from knarr.images import layers
from knarr.images.context import Context, Progress, ProgressEvent, told_of, translated
from knarr.images.index import ImageRecord
from knarr.snapshots.driver import LayerSource


def unpack(context: Context, record: ImageRecord, progress: Progress) -> str | None:
    """Have every layer of the image with the driver; return the topmost chain id.

    None for an image without layers. Does nothing for layers that are there already, so
    it is cheap to call before every use. Raises InvalidArchive, NotFound for a blob
    that is gone, Unsupported for more layers than the driver can stack.
    """
    chain = digests.chain_ids(record.diff_ids)
    if not chain or context.driver.has(chain[-1]):
        return chain[-1] if chain else None
    with context.lock.shared(), translated(f"unpack image {record.id[:19]}"):
        for position, chain_id in enumerate(chain):
            if not context.driver.has(chain_id):
                parent = chain[position - 1] if position else None
                _commit(context, record, position, chain_id, parent, progress)
    return chain[-1]


def _commit(
    context: Context,
    record: ImageRecord,
    position: int,
    chain_id: str,
    parent: str | None,
    progress: Progress,
) -> None:
    layer = record.layers[position]
    size = record.layer_sizes[position]
    source = LayerSource(
        diff_id=record.diff_ids[position],
        open=lambda: layers.open_layer(context.store, layer.digest),
        size=size,
        blob_path=context.store.path(layer.digest),
        media_type=layer.media_type,
        blob_digest=layer.digest,
    )

    def report(done: int) -> None:
        progress(ProgressEvent("Unpacking", record.diff_ids[position], done, size))

    with told_of(f"image {record.id[:19]}: layer {layer.digest[:19]}"):
        context.driver.commit_layer(chain_id, parent, source, report)
