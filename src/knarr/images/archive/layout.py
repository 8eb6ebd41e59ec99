"""OCI layout: ``oci-layout``, ``index.json`` and ``blobs/`` (OCI image spec, ``image-layout.md``).

Entries of index.json are images of their own, except that several with one name are
one image for several platforms. Names are in annotations: containerd's and
Docker's hold the full name, the spec's own often only the tag.
"""

from __future__ import annotations

from knarr.errors import InvalidArchive, InvalidArgument
from knarr.images import documents, manifest, mediatypes, select
from knarr.images.archive.staging import Staged, Staging
from knarr.images.config import parse as parse_config
from knarr.images.descriptor import Descriptor
from knarr.images.manifest import Index
from knarr.images.platform import Platform
from knarr.images.reference import Reference

INDEX = "index.json"
LAYOUT = "oci-layout"
FULL_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
_MAX_ENTRIES = 1000


def stage(staging: Staging, platform: Platform | None) -> list[Staged]:
    """Return the images of an OCI layout, for each name the one that suits ``platform``.

    None means this machine. Raises InvalidArchive, and NotFound when a name has no image for
    the platform. What is no image (attestations, artifacts, unknown types) is skipped.
    """
    _check_version(staging)
    index = manifest.parse(staging.members.read(INDEX), mediatypes.OCI_INDEX, INDEX)
    if not isinstance(index, Index):
        raise InvalidArchive(f"{INDEX} is not an index")
    if len(index.manifests) > _MAX_ENTRIES:
        raise InvalidArchive(f"{INDEX} lists more than {_MAX_ENTRIES} images")
    groups: dict[str, list[Descriptor]] = {}
    for position, entry in enumerate(index.manifests):
        groups.setdefault(name_of(entry) or f"entry {position}", []).append(entry)
    staged = []
    for entries in groups.values():
        offered = [offer for entry in entries for offer in _offers(staging, entry)]
        if not offered:
            continue
        name = name_of(entries[0])
        pairs = [(descriptor, each) for descriptor, each, _ in offered]
        chosen = select.choose(pairs, platform, name or f"index entry {entries[0].digest}")
        index_digest = next(digest for descriptor, _, digest in offered if descriptor is chosen)
        record = staging.image(chosen, index_digest)
        staged.append(Staged(record, (name,) if name else ()))
    return staged


def name_of(entry: Descriptor) -> str | None:
    """Return the canonical name that an entry's annotations give, or None.

    A bare word in the spec's own annotation is a tag of some repository
    that the layout does not name, so it is no name here (as in Docker).
    """
    text = entry.annotations.get(FULL_NAME)
    if text is None:
        text = entry.annotations.get(REF_NAME, "")
        if "/" not in text and ":" not in text:
            return None
    try:
        reference = Reference.parse(text)
    except InvalidArgument:
        return None
    return str(reference.with_tag(reference.tag)) if reference.tag else None


def _check_version(staging: Staging) -> None:
    value = documents.parse_object(staging.members.read(LAYOUT), LAYOUT)
    version = documents.text(value, "imageLayoutVersion", LAYOUT)
    if not version.startswith("1."):
        raise InvalidArchive(f"{LAYOUT} has version {version[:20]!r}; 1.0.0 is known")


def _offers(staging: Staging, entry: Descriptor) -> list[tuple[Descriptor, Platform, str | None]]:
    """Return the image manifests an entry leads to, their platforms and the index they are in."""
    if manifest.is_attestation(entry):
        return []
    if mediatypes.is_index(entry.media_type):
        what = f"index {entry.digest}"
        inner = manifest.parse(staging.document(entry, "index"), entry.media_type, what)
        if not isinstance(inner, Index):
            raise InvalidArchive(f"{what} is not an index")
        found = select.candidates(inner, lambda each: staging.document(each, "index"))
        index_digest: str | None = entry.digest
    elif mediatypes.is_manifest(entry.media_type):
        found, index_digest = [select.Candidate(entry, entry.platform)], None
    else:
        staging.skipped.append(f"{entry.digest} is of type {entry.media_type or 'unknown'}")
        return []
    offers = []
    for descriptor, platform in found:
        known = platform or _platform(staging, descriptor)
        if known is not None:
            offers.append((descriptor, known, index_digest))
    return offers


def _platform(staging: Staging, descriptor: Descriptor) -> Platform | None:
    """Return the platform that an image's config names, None for an artifact."""
    found = staging.manifest(descriptor)
    if not found.is_image:
        kind = found.artifact_type or found.config.media_type
        staging.skipped.append(f"{descriptor.digest} is an artifact of type {kind}")
        return None
    config = staging.document(found.config, "image config")
    return parse_config(config, f"image config {found.config.digest}").platform
