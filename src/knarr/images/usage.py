"""What images take on disk: what each shares with others, and what would come free without them.

An image is on disk as blobs (its layers as they came or as their tars, its config and manifests)
and, once a container was made from it, as layers of the driver, which may be unpacked. All of them
count, each byte once, and so do blobs of which only a part has come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from knarr.content import digest as digests
from knarr.content import parts
from knarr.errors import NotFound
from knarr.images import interrupted, tars
from knarr.images.target import leaders

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from knarr.images.context import Context
    from knarr.images.index import ImageRecord, IndexRecord


@dataclass(frozen=True, slots=True)
class ImageUsage:
    """Bytes on disk of one image with all its platforms, and how many containers it has.

    shared: how many of the bytes belong to other images too.
    """

    image_id: str
    size: int
    shared: int
    containers: int

    @property
    def unique(self) -> int:
        """Bytes that only this image has."""
        return self.size - self.shared


@dataclass(frozen=True, slots=True)
class ImagesUsage:
    """Bytes on disk of all images together, each byte once.

    reclaimable: what no image with a container has, and no pull that runs; ``prune(all=True)``
    frees that. partial: what has come of blobs whose download was interrupted or goes on; counted
    in total, too.
    """

    images: tuple[ImageUsage, ...]
    total: int
    reclaimable: int
    partial: int = 0


def usage(context: Context, image_ids: Iterable[str]) -> ImagesUsage:
    """Return the disk use of the images with these ids and of the store as a whole."""
    sizes = _sizes(context)
    led = _led(context)
    pieces: dict[str, set[str]] = {}
    containers: dict[str, int] = {}
    for image_id in image_ids:
        try:
            record = context.index.get(image_id)
        except NotFound:
            continue  # removed since it was listed
        records = _records(context, record, led.get(image_id, ()))
        pieces[image_id] = _pieces(context, records, led.get(image_id, ())) & sizes.keys()
        containers[image_id] = sum(len(context.index.in_use(each)) for each in records)
    holders: dict[str, int] = {}
    for held in pieces.values():
        for piece in held:
            holders[piece] = holders.get(piece, 0) + 1
    images = tuple(
        ImageUsage(
            image_id,
            _sum(sizes, held),
            _sum(sizes, (piece for piece in held if holders[piece] > 1)),
            containers[image_id],
        )
        for image_id, held in pieces.items()
    )
    needed = {piece for each, held in pieces.items() if containers[each] for piece in held}
    pulled = interrupted.kept(context.store, ended=False)
    needed.update(pulled.blobs, map(_part, pulled.blobs), map(_layer, pulled.layers))
    total = sum(sizes.values())
    partial = sum(parts.sizes(context.store).values())
    return ImagesUsage(images, total, total - _sum(sizes, needed & sizes.keys()), partial)


def _sizes(context: Context) -> dict[str, int]:
    """Return the bytes of each blob, by digest, of each unpacked layer, and of parts of blobs.

    Layers are named by ``_layer``, parts by ``_part``.
    """
    found = {blob.digest: blob.size for blob in context.store.walk()}
    found |= {_part(digest): size for digest, size in parts.sizes(context.store).items()}
    for chain_id in context.driver.list_layers():
        try:
            found[_layer(chain_id)] = context.driver.layer_disk(chain_id)
        except NotFound:
            continue  # removed since it was listed
    return found


def _led(context: Context) -> dict[str, list[IndexRecord]]:
    """Return the indexes that each image stands for, by its id."""
    leading = leaders(context.index)
    found: dict[str, list[IndexRecord]] = {}
    for index in context.index.indexes():
        leader = leading.get(index.digest)
        if leader is not None:
            found.setdefault(leader, []).append(index)
    return found


def _records(
    context: Context, record: ImageRecord, led: Iterable[IndexRecord]
) -> dict[str, ImageRecord]:
    """Return the image and the platforms that are shown with it, by id."""
    found = {record.id: record}
    for index in led:
        for member in index.members:
            try:
                found[member.image_id] = context.index.get(member.image_id)
            except NotFound:
                continue  # somebody removed it just now
    return found


def _pieces(
    context: Context, records: Mapping[str, ImageRecord], led: Iterable[IndexRecord]
) -> set[str]:
    """Return what an image consists of: digests of blobs, and layers as ``_sizes`` names them."""
    found = {digest for record in records.values() for digest in record.blobs}
    found.update(digest for index in led for digest in index.blobs)
    found |= tars.of_all(context.store, found)
    for record in records.values():
        found.update(map(_layer, digests.chain_ids(record.diff_ids)))
    return found


def _layer(chain_id: str) -> str:
    return f"layer {chain_id}"


def _part(digest: str) -> str:
    return f"part {digest}"


def _sum(sizes: Mapping[str, int], pieces: Iterable[str]) -> int:
    return sum(sizes[piece] for piece in pieces)
