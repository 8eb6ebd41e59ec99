"""Images of one archive, built and verified but not yet visible to anybody."""

from __future__ import annotations

from typing import NamedTuple

from knarr.content.store import Blob
from knarr.errors import InvalidArchive, Unsupported
from knarr.images import documents, layers, mediatypes, records
from knarr.images.archive.members import Members, blob_name
from knarr.images.context import Context, Progress
from knarr.images.descriptor import Descriptor
from knarr.images.index import ImageRecord
from knarr.images.intake import Intake
from knarr.images.manifest import Manifest, parse


class Staged(NamedTuple):
    """A verified image and the canonical names its archive gives it."""

    record: ImageRecord
    names: tuple[str, ...]


class Staging:
    """Turns what an archive describes into records; ``skipped`` tells what was no image."""

    def __init__(
        self, context: Context, members: Members, intake: Intake, progress: Progress
    ) -> None:
        self.context = context
        self.members = members
        self.intake = intake
        self.progress = progress
        self.skipped: list[str] = []

    def document(self, descriptor: Descriptor, what: str) -> bytes:
        """Return a manifest, index or config of the archive. Raises InvalidArchive."""
        if descriptor.size > documents.LIMIT:
            raise InvalidArchive(
                f"{what} {descriptor.digest} is {descriptor.size} bytes, too large"
            )
        self.blob(descriptor, what)
        return self.context.store.read(descriptor.digest)

    def blob(self, descriptor: Descriptor, what: str) -> None:
        """Have the blob in the store, verified. Raises InvalidArchive when it is missing."""
        if self.intake.has(descriptor.digest, descriptor.size):
            return
        name = blob_name(descriptor.digest)
        if self.members.has(name):
            self.members.blob(name, descriptor.digest, descriptor.size)
        elif descriptor.data is not None:
            blob = self.context.store.add(descriptor.data, descriptor.digest)
            self.intake.touched.add(blob.digest)
        elif mediatypes.is_foreign(descriptor.media_type) and descriptor.urls:
            raise Unsupported(
                f"{what} {descriptor.digest} is not in the archive: it is only to be had"
                f" from {descriptor.urls[0]}"
            )
        else:
            raise InvalidArchive(f"the archive lacks {what} {descriptor.digest}")

    def image(self, descriptor: Descriptor, index_digest: str | None) -> ImageRecord:
        """Return the record of the image that ``descriptor`` (a manifest) names."""
        manifest = self.manifest(descriptor)
        self.document(manifest.config, "image config")
        for layer in manifest.layers:
            self.blob(layer, "layer")
        stored = Blob(descriptor.digest, descriptor.size)
        return records.build(self.context, stored, manifest, self.progress, index_digest)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Return the manifest that ``descriptor`` names. Raises InvalidArchive."""
        what = f"manifest {descriptor.digest}"
        manifest = parse(self.document(descriptor, "manifest"), descriptor.media_type, what)
        if not isinstance(manifest, Manifest):
            raise InvalidArchive(f"{what} is an index")
        return manifest

    def plain_layer(self, blob: Blob, diff_id: str) -> Blob:
        """Return the blob, or its uncompressed form when no media type covers how it is packed."""
        if layers.kind_of(self.context.store, blob.digest) != "xz":
            return blob
        with layers.open_layer(self.context.store, blob.digest) as stream:
            return self.intake.stream(stream, diff_id)
