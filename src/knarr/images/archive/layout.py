"""OCI layout: ``oci-layout``, ``index.json`` and ``blobs/`` (OCI image spec, ``image-layout.md``).

Entries of index.json are images of their own, except that several with one name are
one image for several platforms. Names are in annotations: containerd's and
Docker's hold the full name, the spec's own often only the tag.
"""

from __future__ import annotations

from knarr.errors import InvalidArchive, InvalidArgument
from knarr.images import documents, manifest, mediatypes, select
from knarr.images.archive.platforms import platform_of, stage_index
from knarr.images.archive.staging import Staged, Staging
from knarr.images.descriptor import Descriptor
from knarr.images.manifest import Index
from knarr.images.platform import Platform
from knarr.images.reference import Reference

INDEX = "index.json"
LAYOUT = "oci-layout"
FULL_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
# The images whose layers an archive of `save --since` leaves out: NAME@DIGEST, blanks between.
SINCE = "knarr.save.since"
_MAX_ENTRIES = 1000


def stage(staging: Staging, platform: Platform | None) -> list[Staged]:
    """Return the images of an OCI layout, with all platforms that are there or the one asked for.

    Raises InvalidArchive, and NotFound when a name has no image for the platform. What
    is no image (artifacts, unknown types) is skipped.
    """
    _check_version(staging)
    index = manifest.parse(staging.members.read(INDEX), mediatypes.OCI_INDEX, INDEX)
    if not isinstance(index, Index):
        raise InvalidArchive(f"{INDEX} is not an index")
    if len(index.manifests) > _MAX_ENTRIES:
        raise InvalidArchive(f"{INDEX} lists more than {_MAX_ENTRIES} images")
    staging.since = index.annotations.get(SINCE, "")
    groups: dict[str, list[Descriptor]] = {}
    for position, entry in enumerate(index.manifests):
        groups.setdefault(name_of(entry) or f"entry {position}", []).append(entry)
    staged = []
    for entries in groups.values():
        name = name_of(entries[0])
        what = name or f"index entry {entries[0].digest}"
        if each := _stage(staging, _images(staging, entries), platform, what):
            staged.append(each._replace(names=(name,) if name else ()))
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


def _images(staging: Staging, entries: list[Descriptor]) -> list[Descriptor]:
    """Return those of the entries that are images, or indexes of images."""
    found = []
    for entry in entries:
        if manifest.is_attestation(entry):
            continue
        if mediatypes.is_index(entry.media_type):
            found.append(entry)
        elif not mediatypes.is_manifest(entry.media_type):
            staging.skipped.append(f"{entry.digest} is of type {entry.media_type or 'unknown'}")
        elif (image := staging.manifest(entry)).is_image:
            found.append(entry)
        else:
            kind = image.artifact_type or image.config.media_type
            staging.skipped.append(f"{entry.digest} is an artifact of type {kind}")
    return found


def _stage(
    staging: Staging, entries: list[Descriptor], wanted: Platform | None, what: str
) -> Staged | None:
    if not entries:
        return None
    entry = entries[0]
    if len(entries) > 1:
        return _joined(staging, entries, wanted, what)
    if mediatypes.is_index(entry.media_type):
        where = f"index {entry.digest}"
        inner = manifest.parse(staging.document(entry, "index"), entry.media_type, where)
        if not isinstance(inner, Index):
            raise InvalidArchive(f"{where} is not an index")
        return stage_index(staging, entry, inner, wanted, what)
    platform = entry.platform or platform_of(staging, staging.manifest(entry))
    if wanted is not None:
        select.choose([(entry, platform)], wanted, what)
    return Staged(staging.image(entry), ())


def _joined(
    staging: Staging, entries: list[Descriptor], wanted: Platform | None, what: str
) -> Staged | None:
    """Return the image of several entries with one name: an index is made for them."""
    listed = []
    for entry in entries:
        platform = entry.platform
        if platform is None and mediatypes.is_manifest(entry.media_type):
            platform = platform_of(staging, staging.manifest(entry))
        listed.append(Descriptor(entry.media_type, entry.digest, entry.size, platform=platform))
    index = Index(mediatypes.OCI_INDEX, tuple(listed))
    stored = staging.intake.document(index.to_bytes())
    made = Descriptor(mediatypes.OCI_INDEX, stored.digest, stored.size)
    staged = stage_index(staging, made, index, wanted, what)
    return Staged(staged.record, ()) if staged and wanted is not None else staged
