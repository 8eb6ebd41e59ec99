"""From a manifest and its stored blobs to a record, with everything verified."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from knarr.content import digest as digests
from knarr.content.store import Blob
from knarr.errors import InvalidArchive, NotFound
from knarr.images import config as configs
from knarr.images import lastuse, layers, mediatypes, tars, times
from knarr.images.config import ImageConfig
from knarr.images.context import Context, Progress, ProgressEvent
from knarr.images.descriptor import Descriptor
from knarr.images.index import ImageRecord, IndexRecord
from knarr.images.intake import Intake
from knarr.images.manifest import Manifest


def read_config(context: Context, digest: str) -> ImageConfig:
    """Return the image config stored under ``digest``. Raises NotFound, InvalidArchive."""
    return configs.parse(context.store.read(digest), f"image config {digest}")


def build(
    context: Context,
    stored: Blob,
    manifest: Manifest,
    progress: Progress,
    measured: Mapping[tuple[str, str], int] | None = None,
) -> ImageRecord:
    """Return the record of an image whose blobs are all in the store.

    Verifies that there are as many layers as diff ids and that each layer unpacks
    to its diff id; raises InvalidArchive otherwise. measured: lengths in bytes of layers that
    were just seen to do so, by digest and diff id.
    """
    config = read_config(context, manifest.config.digest)
    if len(config.diff_ids) != len(manifest.layers):
        raise InvalidArchive(
            f"image {manifest.config.digest} has {len(manifest.layers)} layers"
            f" but {len(config.diff_ids)} diff ids"
        )
    known = _known_sizes(context)
    sizes = dict(measured or {})
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        key = (layer.digest, diff_id)
        if key not in sizes:
            progress(ProgressEvent("Verifying", diff_id, 0, layer.size))
            sizes[key] = known.get(key) or layers.measure(context.store, *key)
    layer_sizes = tuple(
        sizes[layer.digest, diff_id]
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
    )
    chain = digests.chain_ids(config.diff_ids)
    return ImageRecord(
        id=manifest.config.digest,
        manifest_digest=stored.digest,
        manifest_media_type=manifest.media_type,
        config_digest=manifest.config.digest,
        chain_id=chain[-1] if chain else "",
        diff_ids=config.diff_ids,
        layers=manifest.layers,
        layer_sizes=layer_sizes,
        size=sum(layer_sizes),
        created=config.created if times.parse(config.created) else "",
        platform=config.platform,
    )


def synthesise(
    context: Context,
    intake: Intake,
    config: Blob,
    found: Sequence[Blob | Descriptor],
    progress: Progress,
    measured: Mapping[tuple[str, str], int] | None = None,
) -> ImageRecord:
    """Return the record of an image that had no manifest, having stored one for it.

    The manifest is OCI's and follows from config and layers alone, so the same image gets
    the same manifest digest wherever it is loaded. found: its layers, stored as they are named,
    or as the descriptors of another image's have them. measured: as for ``build``.
    """
    manifest = Manifest(
        media_type=mediatypes.OCI_MANIFEST,
        config=Descriptor(mediatypes.OCI_CONFIG, config.digest, config.size),
        layers=tuple(_descriptor(context, each) for each in found),
    )
    stored = intake.document(manifest.to_bytes())
    return build(context, stored, manifest, progress, measured)


def _descriptor(context: Context, layer: Blob | Descriptor) -> Descriptor:
    if isinstance(layer, Descriptor) and not context.store.has(layer.digest):
        return Descriptor(mediatypes.as_oci(layer.media_type), layer.digest, layer.size)
    kind = layers.kind_of(context.store, layer.digest)
    return Descriptor(layers.media_type_of(kind), layer.digest, layer.size)


def publish(
    context: Context,
    record: ImageRecord,
    names: Iterable[str],
    found: IndexRecord | None = None,
    others: Iterable[ImageRecord] = (),
) -> ImageRecord:
    """Put an image into the index, with the OCI index it came with and its other platforms.

    ``names`` then point at the one for this machine, which is returned. An image that came
    before in another form keeps that form: its blobs serve as well. Called with the lock held, so
    that the blobs cannot go; the record can, by somebody's rmi.
    """
    everything = {each.id: each for each in (record, *others)}
    for each in everything.values():
        lastuse.note(context.store.root, each.id)
        known = context.index.find(each.id)
        if not known or not is_complete(context, known[0]):
            context.index.add(each)
    if found is None:
        for name in names:
            _tag(context, name, record, None)
        return record
    context.index.add_index(found)
    joined = context.index.get_index(found.digest) or found
    known_here = joined if context.index.find(joined.main_id() or "") else found
    main = _record(context, everything, known_here.main_id() or record.id)
    same = [name for name, each in context.index.index_names().items() if each == found.digest]
    for name in dict.fromkeys((*names, *same)):
        _tag(context, name, main, found)
    # With a name on it the index holds its images; one may have been removed before it had.
    for each in everything.values():
        if not context.index.find(each.id):
            context.index.add(each)
    return main


def _record(context: Context, ours: dict[str, ImageRecord], image_id: str) -> ImageRecord:
    return ours[image_id] if image_id in ours else context.index.get(image_id)


def _tag(context: Context, name: str, record: ImageRecord, found: IndexRecord | None) -> None:
    try:
        context.index.tag(name, record.id, found.digest if found else None)
    except NotFound:
        context.index.add(record)
        if found is not None:
            context.index.add_index(found)
        context.index.tag(name, record.id, found.digest if found else None)


def add_digest(context: Context, image_id: str, canonical: str) -> None:
    """Note that a registry has the image as ``name@digest``; does nothing when it is gone."""
    with contextlib.suppress(NotFound):
        known = context.index.get(image_id)
        if canonical not in known.repo_digests:
            all_of_them = tuple(sorted((*known.repo_digests, canonical)))
            context.index.add(replace(known, repo_digests=all_of_them))


def is_complete(context: Context, record: ImageRecord) -> bool:
    """Return whether every blob of the record is in the store, layers perhaps as tars."""
    return all(tars.has(context.store, digest) for digest in record.blobs)


def _known_sizes(context: Context) -> dict[tuple[str, str], int]:
    # A pair that a record has was measured when that record was made; blobs never change.
    return {
        (layer.digest, diff_id): size
        for record in context.index.list()
        for layer, diff_id, size in zip(
            record.layers, record.diff_ids, record.layer_sizes, strict=True
        )
    }
