"""The persistent part of images: which exist and which names point at them.

Blobs are in the content store and layers with the snapshot driver; what remains
is one record for each image and a map of names. ``ImageIndex`` is the protocol; the
engine implements it in its database. Tests have one in memory.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import Any, Protocol

from knarr.images.descriptor import Descriptor
from knarr.images.platform import Platform


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image: what is needed to list, run and remove it without opening a blob.

    id: the config digest (``sha256:HEX``), equal to ``config_digest``.
    chain_id: of the topmost layer; empty for an image without layers.
    layers: descriptors of the blobs, bottom first; diff_ids and layer_sizes (bytes of
    each uncompressed layer) run in parallel. size: sum of layer_sizes, in bytes.
    created: RFC 3339, or empty when the config has none. repo_digests: full
    ``name@digest`` strings. index_digest: the index it was chosen from, if any.
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
    index_digest: str | None = None

    @property
    def blobs(self) -> tuple[str, ...]:
        """Every digest in the content store that this image needs, the manifest first."""
        index = (self.index_digest,) if self.index_digest else ()
        layers = (layer.digest for layer in self.layers)
        return (self.manifest_digest, self.config_digest, *index, *layers)

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
            "index_digest": self.index_digest,
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
            index_digest=value["index_digest"],
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

    def tag(self, ref: str, image_id: str) -> None:
        """Let the name point at the image, moving it if it exists. Raises NotFound for the id."""

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
