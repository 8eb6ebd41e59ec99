"""Manifests and indexes of OCI and of Docker (schema 2): read and checked; see ``rewriting`` too.

Sources: OCI image spec ``manifest.md`` and ``image-index.md``; Docker's "Image
Manifest Version 2, Schema 2". A document is kept with its exact bytes, since its
digest is its name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from knarr.errors import InvalidArchive, Unsupported
from knarr.images import documents, mediatypes
from knarr.images.descriptor import Descriptor

ATTESTATION = "vnd.docker.reference.type"
_ATTESTATION_VALUE = "attestation-manifest"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image, or one artifact: its config and its layers, bottom first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str = ""
    subject: Descriptor | None = None

    @property
    def is_image(self) -> bool:
        """Whether it describes a root file system and not some other artifact."""
        return not self.artifact_type and self.config.media_type in mediatypes.CONFIGS

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON, for manifests that knarr itself makes."""
        value: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.to_dict(),
            "layers": [layer.to_dict() for layer in self.layers],
        }
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return documents.dump(value)


@dataclass(frozen=True, slots=True)
class Index:
    """Several manifests under one digest, usually one for each platform."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: dict[str, str] = field(default_factory=dict, hash=False)

    def to_bytes(self) -> bytes:
        """Return the index as JSON, for indexes that knarr itself makes."""
        value: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "manifests": [manifest.to_dict() for manifest in self.manifests],
        }
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return documents.dump(value)


def parse(data: bytes, media_type: str = "", what: str = "manifest") -> Manifest | Index:
    """Return the manifest or index in ``data``, which was offered as ``media_type``.

    Raises InvalidArchive when it is malformed, too large, or claims two things at once (two
    readers could then disagree about what a digest means), and Unsupported for schema 1.
    """
    value = documents.parse_object(data, what)
    declared = documents.text(value, "mediaType", what)
    if value.get("schemaVersion") == 1 or {declared, media_type} & mediatypes.DOCKER_SCHEMA1:
        raise Unsupported(
            f"{what} is in Docker's schema 1 format: push the image again as schema 2"
        )
    if value.get("schemaVersion") != 2:
        raise InvalidArchive(f"{what}: schemaVersion is not 2")
    if declared and media_type and declared != media_type:
        raise InvalidArchive(f"{what} is offered as {media_type} but says it is {declared}")
    if "manifests" in value and ("layers" in value or "config" in value or "fsLayers" in value):
        raise InvalidArchive(f"{what} claims to be a manifest and an index at once")
    kind = declared or media_type or _guess(value)
    if mediatypes.is_index(kind):
        return _index(value, kind, what)
    if mediatypes.is_manifest(kind):
        return _manifest(value, kind, what)
    raise Unsupported(f"{what} has the media type {kind!r}, which is no image")


def is_attestation(descriptor: Descriptor) -> bool:
    """Return whether an index entry is about another image and not an image itself.

    Build tools store provenance and SBOMs as entries for ``unknown/unknown``.
    """
    if descriptor.annotations.get(ATTESTATION) == _ATTESTATION_VALUE:
        return True
    return descriptor.platform is not None and descriptor.platform.is_unknown


def _guess(value: dict[str, Any]) -> str:
    # OCI 1.0 made mediaType optional; the fields that must be there then tell.
    if "manifests" in value:
        return mediatypes.OCI_INDEX
    return mediatypes.OCI_MANIFEST if "config" in value else ""


def _index(value: dict[str, Any], kind: str, what: str) -> Index:
    entries = documents.objects(value, "manifests", what)
    return Index(
        media_type=kind,
        manifests=tuple(Descriptor.from_dict(entry, f"{what}: entry") for entry in entries),
        annotations=documents.string_map(value, "annotations", what),
    )


def _manifest(value: dict[str, Any], kind: str, what: str) -> Manifest:
    entries = documents.objects(value, "layers", what)
    subject = value.get("subject")
    return Manifest(
        media_type=kind,
        config=Descriptor.from_dict(value.get("config"), f"{what}: config"),
        layers=tuple(Descriptor.from_dict(entry, f"{what}: layer") for entry in entries),
        annotations=documents.string_map(value, "annotations", what),
        artifact_type=documents.text(value, "artifactType", what),
        subject=None if subject is None else Descriptor.from_dict(subject, f"{what}: subject"),
    )
