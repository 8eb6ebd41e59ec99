"""The persistent part of images: which exist and which names point at them.

Blobs are in the content store and layers with the snapshot driver; what remains
is one record for each image, one for each OCI index that several of them belong to, and a map
of names. ``ImageIndex`` is the protocol; the engine implements it in its database. Tests
have one in memory.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass, replace
from typing import Any, Protocol

from knarr.images.descriptor import Descriptor
from knarr.images.platform import Platform, host, rank


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image: what is needed to list, run and remove it without opening a blob.

    id: the config digest (``sha256:HEX``), equal to ``config_digest``.
    chain_id: of the topmost layer; empty for an image without layers.
    layers: descriptors of the blobs, bottom first; diff_ids and layer_sizes (bytes of
    each uncompressed layer) run in parallel. size: sum of layer_sizes, in bytes.
    created: RFC 3339, or empty when the config has none. repo_digests: full
    ``name@digest`` strings.
    """

    id: str
    manifest_digest: str
    manifest_media_type: str
    config_digest: str
    chain_id: str
    diff_ids: tuple[str, ...]
    layers: tuple[Descriptor, ...]
    layer_sizes: tuple[int, ...]
    size: int
    created: str
    platform: Platform
    repo_digests: tuple[str, ...] = ()

    @property
    def blobs(self) -> tuple[str, ...]:
        """Every digest that this image refers to, the manifest first.

        Of a compressed layer the tar may be stored in its place, see ``tars``.
        """
        layers = (layer.digest for layer in self.layers)
        return (self.manifest_digest, self.config_digest, *layers)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-able value that ``from_dict`` reads back."""
        return {
            "id": self.id,
            "manifest_digest": self.manifest_digest,
            "manifest_media_type": self.manifest_media_type,
            "config_digest": self.config_digest,
            "chain_id": self.chain_id,
            "diff_ids": list(self.diff_ids),
            "layers": [layer.to_dict() for layer in self.layers],
            "layer_sizes": list(self.layer_sizes),
            "size": self.size,
            "created": self.created,
            "platform": self.platform.to_dict(),
            "repo_digests": list(self.repo_digests),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> ImageRecord:
        """Return the record that ``to_dict`` described. Raises KeyError on a missing field."""
        return cls(
            id=value["id"],
            manifest_digest=value["manifest_digest"],
            manifest_media_type=value["manifest_media_type"],
            config_digest=value["config_digest"],
            chain_id=value["chain_id"],
            diff_ids=tuple(value["diff_ids"]),
            layers=tuple(Descriptor.from_dict(layer) for layer in value["layers"]),
            layer_sizes=tuple(value["layer_sizes"]),
            size=value["size"],
            created=value["created"],
            platform=Platform.from_dict(value["platform"]),
            repo_digests=tuple(value["repo_digests"]),
        )


@dataclass(frozen=True, slots=True)
class Member:
    """One platform of an index: which image it is, and the form in which the index has it.

    position: its place among the index's images. manifest: as the index refers to it, with the
    platform. blobs: digests of the config and of the layers, bottom first; they may be others than
    those of the image's record, which can have come in another compression.
    """

    position: int
    image_id: str
    manifest: Descriptor
    blobs: tuple[str, ...]

    @property
    def platform(self) -> Platform:
        """What it is for."""
        return self.manifest.platform or Platform("unknown", "unknown")

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able value that ``from_dict`` reads back."""
        return {
            "position": self.position,
            "image_id": self.image_id,
            "manifest": self.manifest.to_dict(),
            "blobs": list(self.blobs),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Member:
        """Return the member that ``to_dict`` described. Raises KeyError on a missing field."""
        manifest = Descriptor.from_dict(value["manifest"])
        return cls(value["position"], value["image_id"], manifest, tuple(value["blobs"]))


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """An image for several platforms: its OCI index (or manifest list) and what is here of it.

    size: of the index itself, in bytes. members: the platforms that are here, in the index's
    order. extras: digests of blobs the index leads to that belong to no platform: indexes
    inside it, attestations with what they refer to.
    """

    digest: str
    media_type: str
    size: int
    members: tuple[Member, ...]
    extras: tuple[str, ...] = ()

    @property
    def blobs(self) -> tuple[str, ...]:
        """Every digest in the content store that belongs to the index, itself first."""
        return (*self.documents, *self.layers)

    @property
    def documents(self) -> tuple[str, ...]:
        """The digests of all that is no layer, the index itself first."""
        members = (digest for m in self.members for digest in (m.manifest.digest, m.blobs[0]))
        return (self.digest, *self.extras, *members)

    @property
    def layers(self) -> tuple[str, ...]:
        """The digests of the layers of all members."""
        return tuple(digest for member in self.members for digest in member.blobs[1:])

    def main_id(self) -> str | None:
        """Return the id of the image that suits this machine best, else of the first."""
        machine = host()
        ranked = [(rank(machine, member.platform), member) for member in self.members]
        suiting = [(score, m.position, m.image_id) for score, m in ranked if score is not None]
        if suiting:
            return min(suiting)[2]
        return self.members[0].image_id if self.members else None

    def joined(self, other: IndexRecord) -> IndexRecord:
        """Return the same index with what is here by this record and by ``other``."""
        members = {each.position: each for each in (*self.members, *other.members)}
        ordered = tuple(members[position] for position in sorted(members))
        extras = tuple(dict.fromkeys((*self.extras, *other.extras)))
        return replace(self, members=ordered, extras=extras)

    def without(self, image_id: str) -> IndexRecord:
        """Return the index without an image."""
        return replace(self, members=tuple(m for m in self.members if m.image_id != image_id))

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-able value that ``from_dict`` reads back."""
        return {
            "digest": self.digest,
            "media_type": self.media_type,
            "size": self.size,
            "members": [member.to_dict() for member in self.members],
            "extras": list(self.extras),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> IndexRecord:
        """Return the record that ``to_dict`` described. Raises KeyError on a missing field."""
        return cls(
            digest=value["digest"],
            media_type=value["media_type"],
            size=value["size"],
            members=tuple(Member.from_dict(member) for member in value["members"]),
            extras=tuple(value["extras"]),
        )


class ImageIndex(Protocol):
    """Where records and names are kept; each call is one transaction, durable on return.

    Names are canonical (``str(Reference)``, e.g. ``docker.io/library/busybox:latest``).
    """

    def add(self, record: ImageRecord) -> None:
        """Store the record; one with the same id is replaced and keeps its names."""

    def get(self, image_id: str) -> ImageRecord:
        """Return the record with this full id (``sha256:HEX``). Raises NotFound."""

    def find(self, prefix: str) -> builtins.list[ImageRecord]:
        """Return the records whose id starts so; ``prefix`` with or without ``sha256:``."""

    def remove(self, image_id: str) -> None:
        """Remove the record and every name that points at it. Raises NotFound."""

    def list(self) -> builtins.list[ImageRecord]:
        """Return all records, in any order."""

    def tag(self, ref: str, image_id: str, index_digest: str | None = None) -> None:
        """Let the name point at the image, and stand for an index or for none.

        Moves a name that exists. Raises NotFound for the id or the index.
        """

    def untag(self, ref: str) -> str:
        """Remove the name and return the id it pointed at. Raises NotFound."""

    def resolve(self, ref: str) -> str | None:
        """Return the id the name points at, or None."""

    def tags(self, image_id: str) -> builtins.list[str]:
        """Return the names that point at the image, sorted."""

    def all_tags(self) -> dict[str, str]:
        """Return every name with the id it points at."""

    def in_use(self, image_id: str) -> builtins.list[str]:
        """Return the ids of all containers, running or not, that were made from the image."""

    def add_index(self, record: IndexRecord) -> None:
        """Store an index; what is known of one with the same digest is kept beside."""

    def drop_member(self, digest: str, image_id: str) -> None:
        """Take an image out of an index. Does nothing when it is not in there."""

    def remove_index(self, digest: str) -> None:
        """Remove an index; names that stood for it stay with their image."""

    def get_index(self, digest: str) -> IndexRecord | None:
        """Return the index with this digest, or None."""

    def indexes(self) -> builtins.list[IndexRecord]:
        """Return all indexes, in any order."""

    def index_names(self) -> dict[str, str]:
        """Return every name that stands for an index, with its digest."""
