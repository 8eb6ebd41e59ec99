"""An OCI index in an archive: the image comes in with all its platforms that are there.

The index itself is kept byte by byte, with the attestations it lists, so that it can be given
away again under the same digest. An archive need not hold every platform an index names:
Docker leaves out those it never pulled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from knarr.images import documents, mediatypes, select
from knarr.images.archive.staging import Staged, Staging
from knarr.images.config import parse as parse_config
from knarr.images.descriptor import Descriptor
from knarr.images.index import ImageRecord, IndexRecord, Member
from knarr.images.manifest import Index, Manifest
from knarr.images.platform import Platform


class Offer(NamedTuple):
    """An image that an index lists and the archive has: its place, manifest and platform."""

    position: int
    descriptor: Descriptor
    manifest: Manifest
    platform: Platform


def stage_index(
    staging: Staging, entry: Descriptor, index: Index, wanted: Platform | None, what: str
) -> Staged | None:
    """Return the image of an index with its platforms, or only the one that is ``wanted``.

    None when it lists no image. Raises InvalidArchive when the archive has none whole, NotFound
    when none is for the platform.
    """
    found = select.survey(index, lambda each: _document(staging, each))
    offers, artifacts = _offers(staging, found)
    if not offers:
        missing = [each for each in found.candidates if not staging.available(each.descriptor)]
        if missing:
            staging.manifest(missing[0].descriptor)
        return None
    if wanted is not None:
        pairs = [(offer.descriptor, offer.platform) for offer in offers]
        chosen = select.choose(pairs, wanted, what)
        offers = [offer for offer in offers if offer.descriptor is chosen]
    members, records = _members(staging, offers, what)
    extras = [each.digest for each in found.inner]
    if wanted is None:
        extras += _others(staging, (*found.others, *artifacts))
    record = IndexRecord(
        entry.digest, index.media_type, entry.size, tuple(members), tuple(dict.fromkeys(extras))
    )
    main = next(each for each in records if each.id == record.main_id())
    return Staged(main, (), record, tuple(each for each in records if each is not main))


def platform_of(staging: Staging, manifest: Manifest) -> Platform:
    """Return the platform that an image's config names. Raises InvalidArchive."""
    config = staging.document(manifest.config, "image config")
    return parse_config(config, f"image config {manifest.config.digest}").platform


def _document(staging: Staging, descriptor: Descriptor) -> bytes | None:
    return staging.document(descriptor, "index") if staging.available(descriptor) else None


def _offers(staging: Staging, found: select.Survey) -> tuple[list[Offer], list[Descriptor]]:
    offers, artifacts = [], []
    for position, (descriptor, platform) in enumerate(found.candidates):
        if not staging.available(descriptor):
            continue
        manifest = staging.manifest(descriptor)
        if not manifest.is_image:
            artifacts.append(descriptor)
            continue
        known = platform
        if known is None and staging.available(manifest.config):
            known = platform_of(staging, manifest)
        if known is not None:
            offers.append(Offer(position, descriptor, manifest, known))
    return offers, artifacts


def _members(
    staging: Staging, offers: list[Offer], what: str
) -> tuple[list[Member], list[ImageRecord]]:
    members, records = [], []
    lacking = {offer.position: staging.lacks(offer.manifest) for offer in offers}
    if all(lacking.values()):
        staging.image(offers[0].descriptor)
        raise staging.lacking(lacking[offers[0].position])
    for position, descriptor, manifest, platform in offers:
        if lacking[position]:
            staging.skipped.append(f"{platform} of {what}: the archive lacks {lacking[position]}")
            continue
        record = staging.image(descriptor)
        known = Descriptor(
            manifest.media_type, descriptor.digest, descriptor.size, platform=platform
        )
        blobs = (manifest.config.digest, *(layer.digest for layer in manifest.layers))
        members.append(Member(position, record.id, known, blobs))
        records.append(record)
    return members, records


def _others(staging: Staging, descriptors: Iterable[Descriptor]) -> Iterator[str]:
    """Yield the digests of what an index lists beside images, where all of it is there."""
    for descriptor in descriptors:
        if not staging.available(descriptor):
            continue
        parts = [descriptor]
        if mediatypes.is_manifest(descriptor.media_type) and descriptor.size <= documents.LIMIT:
            manifest = staging.manifest(descriptor)
            parts += [manifest.config, *manifest.layers]
        if all(staging.available(part) for part in parts):
            for part in parts:
                staging.blob(part, "attestation")
                yield part.digest
