"""Layers from the content store into the snapshot driver, at the latest when an image is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

from knarr.content import digest as digests
from knarr.images import garbage, layers, tars
from knarr.images.context import Context, Progress, ProgressEvent, told_of, translated
from knarr.images.descriptor import Descriptor
from knarr.images.index import ImageRecord
from knarr.snapshots.driver import LayerSource

Measured = dict[tuple[str, str], int]
"""Lengths in bytes of layers' tars, by the layer's digest and the diff id it was found to have."""


def unpack(context: Context, record: ImageRecord, progress: Progress) -> str | None:
    """Have every layer of the image with the driver; return the topmost chain id.

    None for an image without layers. Does nothing for layers that are there already, so
    it is cheap to call before every use. Raises InvalidArchive, NotFound for a blob
    that is gone, Unsupported for more layers than the driver can stack.
    """
    chain = digests.chain_ids(record.diff_ids)
    if not chain or context.driver.has(chain[-1]):
        return chain[-1] if chain else None
    what = f"image {record.id[:19]}"
    with translated(f"unpack {what}"):
        with context.lock.shared(), told_of(what):
            lay_out(context, record.layers, record.diff_ids, progress, record.layer_sizes)
        # What is kept as a tar now need not be kept compressed.
        garbage.collect(context, (layer.digest for layer in record.layers))
    return chain[-1]


def lay_out(
    context: Context,
    found: Sequence[Descriptor],
    diff_ids: Sequence[str],
    progress: Progress,
    sizes: Sequence[int] = (),
) -> Measured:
    """Have stored layers with the driver, lowest first; return the lengths of their tars.

    With the lock held. sizes: lengths of the tars of layers that were found to be right when they
    came. Raises InvalidArchive for a layer that is another than its diff id says, OSError, and what
    ``unpack`` raises.
    """
    chain = digests.chain_ids(diff_ids)
    measured: Measured = {}
    for position, (layer, diff_id) in enumerate(zip(found, diff_ids, strict=True)):
        size = sizes[position] if sizes else None

        def report(done: int, diff_id: str = diff_id, size: int | None = size) -> None:
            progress(ProgressEvent("Unpacking", diff_id, done, size))

        def opened(digest: str = layer.digest) -> BinaryIO:
            return layers.open_layer(context.store, digest)

        given = give(context, layer, diff_id, chain[: position + 1], opened, report)
        if size is None:
            length = given.length if given.was_read else 0
            pair = (layer.digest, diff_id)
            measured[pair] = length or layers.measure(context.store, *pair)
        tars.keep(context, layer, diff_id, chain[position])
    return measured


class Given(NamedTuple):
    """Whether a layer's tar was read, and so found right, and its length if the driver took it."""

    was_read: bool
    length: int


def give(
    context: Context,
    layer: Descriptor,
    diff_id: str,
    chain: Sequence[str],
    opened: Callable[[], BinaryIO],
    report: Callable[[int], None],
) -> Given:
    """Give the driver a layer, if it has not got it: the last one of ``chain``.

    opened: returns its tar, which is not asked for where that is stored. Raises what
    ``Driver.commit_layer`` does.
    """
    was_read, length = False, 0

    def noted() -> BinaryIO:
        nonlocal was_read
        was_read = True
        return opened()

    def told(done: int) -> None:
        nonlocal length
        length = done
        report(done)

    source = LayerSource(
        diff_id=diff_id,
        open=noted,
        blob_path=context.store.path(diff_id),
        blob_digest=diff_id,
    )
    with told_of(f"layer {layer.digest[:19]}"):
        context.driver.commit_layer(chain[-1], chain[-2] if len(chain) > 1 else None, source, told)
    return Given(was_read, length)
