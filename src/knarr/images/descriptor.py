"""``Descriptor``: media type, digest and size of one blob (OCI image spec, ``descriptor.md``)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from knarr.content import digest as digests
from knarr.errors import InvalidArchive, InvalidArgument
from knarr.images import documents
from knarr.images.platform import Platform


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What refers to a blob; ``size`` in bytes, ``data`` the blob itself when embedded.

    Unknown fields are dropped, as the spec wants them ignored; manifests
    themselves are kept byte by byte, so nothing is lost by that.
    """

    media_type: str
    digest: str
    size: int
    urls: tuple[str, ...] = ()
    annotations: dict[str, str] = field(default_factory=dict, hash=False)
    platform: Platform | None = None
    artifact_type: str = ""
    data: bytes | None = None

    @classmethod
    def from_dict(cls, value: Any, what: str = "descriptor") -> Descriptor:
        """Return the descriptor that the JSON object ``value`` describes.

        Raises InvalidArchive when a field is missing, of the wrong type, when the digest is
        malformed, or when embedded data does not have the digest and size it claims.
        """
        if not isinstance(value, dict):
            raise InvalidArchive(f"{what} is not an object")
        try:
            digest = documents.text(value, "digest", what)
            digests.parse(digest)
        except InvalidArgument as error:
            raise InvalidArchive(f"{what}: {error}") from None
        platform = value.get("platform")
        descriptor = cls(
            media_type=documents.text(value, "mediaType", what),
            digest=digest,
            size=documents.integer(value, "size", what),
            urls=documents.strings(value, "urls", what),
            annotations=documents.string_map(value, "annotations", what),
            platform=None if platform is None else Platform.from_dict(platform, what),
            artifact_type=documents.text(value, "artifactType", what),
            data=_embedded(value, what),
        )
        descriptor._check_data(what)
        return descriptor

    def to_dict(self) -> dict[str, Any]:
        """Return the descriptor as the JSON object of the spec, empty fields left out."""
        value: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        if self.urls:
            value["urls"] = list(self.urls)
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.data is not None:
            value["data"] = base64.b64encode(self.data).decode()
        if self.platform is not None:
            value["platform"] = self.platform.to_dict()
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        return value

    def _check_data(self, what: str) -> None:
        if self.data is None:
            return
        if len(self.data) != self.size or self.digest != digests.of(
            self.data, self.digest.partition(":")[0]
        ):
            raise InvalidArchive(f"{what}: embedded data is not {self.digest}")


def _embedded(value: dict[str, Any], what: str) -> bytes | None:
    if value.get("data") is None:
        return None
    try:
        return base64.b64decode(documents.text(value, "data", what), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArchive(f"{what}: data is not base64") from None
