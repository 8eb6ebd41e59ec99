"""Images of one archive, built and verified but not yet visible to anybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from knarr.content import digest as digests
from knarr.content.store import Blob
from knarr.errors import InvalidArchive, KnarrError, NotFound, Unsupported
from knarr.images import config as configs
from knarr.images import documents, layers, mediatypes, records, tars, unpack
from knarr.images.archive.members import Members, blob_name
from knarr.images.config import ImageConfig
from knarr.images.context import Context, Progress
from knarr.images.descriptor import Descriptor
from knarr.images.index import ImageRecord, IndexRecord
from knarr.images.intake import Intake
from knarr.images.manifest import Manifest, parse
from knarr.images.platform import host, rank


class Staged(NamedTuple):
    """A verified image and the canonical names its archive gives it.

    whole and others: the OCI index it came in, and the images of other platforms.
    """

    record: ImageRecord
    names: tuple[str, ...]
    whole: IndexRecord | None = None
    others: tuple[ImageRecord, ...] = ()

    @property
    def key(self) -> str:
        """What tells it from other images of the archive: the digest of its index, or its id."""
        return self.whole.digest if self.whole else self.record.id

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all its platforms."""
        return frozenset(each.id for each in (self.record, *self.others))


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
        self._by_tar: dict[str, str] | None = None
        self.since = ""  # the images whose layers were left out when it was saved

    def available(self, descriptor: Descriptor) -> bool:
        """Return whether the blob is in the store, in the archive or in its descriptor."""
        return (
            descriptor.data is not None
            or self.intake.has(descriptor.digest, descriptor.size)
            or self.members.has(blob_name(descriptor.digest))
            or tars.of(self.context.store, descriptor.digest) is not None
            or self._packed(descriptor.digest) is not None
        )

    def lacks(self, manifest: Manifest) -> str:
        """Return what of an image is not to be had here, or nothing when all is."""
        if not self.available(manifest.config):
            return f"image config {manifest.config.digest}"
        missing = [layer for layer in manifest.layers if not self.available(layer)]
        return f"layer {missing[0].digest}" if missing else ""

    def lacking(self, what: str) -> KnarrError:
        """Return the error for what is neither here nor in the archive."""
        if not self.since:
            return InvalidArchive(f"the archive lacks {what}")
        return NotFound(
            f"the archive was saved with --since {self.since[:300]} and lacks {what}, which is not"
            " here: pull or load that image first"
        )

    def document(self, descriptor: Descriptor, what: str) -> bytes:
        """Return a manifest, index or config of the archive. Raises InvalidArchive."""
        if descriptor.size > documents.LIMIT:
            raise InvalidArchive(
                f"{what} {descriptor.digest} is {descriptor.size} bytes, too large"
            )
        self.blob(descriptor, what)
        return self.context.store.read(descriptor.digest)

    def blob(self, descriptor: Descriptor, what: str) -> None:
        """Have the blob in the store, verified, or a layer as its tar. Raises InvalidArchive."""
        if self.intake.has(descriptor.digest, descriptor.size):
            return
        store = self.context.store
        tar = tars.of(store, descriptor.digest)
        if tar is not None:
            self.intake.touched.add(tar)
            return
        name = blob_name(descriptor.digest)
        if self.members.has(name):
            self.members.blob(name, descriptor.digest, descriptor.size)
        elif descriptor.data is not None:
            blob = store.add(descriptor.data, descriptor.digest)
            self.intake.touched.add(blob.digest)
        elif (packed := self._packed(descriptor.digest)) is not None:
            with layers.open_layer(store, packed) as stream:
                self.intake.stream(stream, descriptor.digest, descriptor.size)
        elif mediatypes.is_foreign(descriptor.media_type) and descriptor.urls:
            raise Unsupported(
                f"{what} {descriptor.digest} is not in the archive: it is only to be had"
                f" from {descriptor.urls[0]}"
            )
        else:
            raise self.lacking(f"{what} {descriptor.digest}")

    def image(self, descriptor: Descriptor) -> ImageRecord:
        """Return the record of the image that ``descriptor`` (a manifest) names."""
        manifest = self.manifest(descriptor)
        config = self.document(manifest.config, "image config")
        for layer in manifest.layers:
            self.blob(layer, "layer")
        stored = Blob(descriptor.digest, descriptor.size)
        measured = self.laid_out(manifest.layers, configs.parse(config, "image config"))
        return records.build(self.context, stored, manifest, self.progress, measured)

    def laid_out(
        self, found: Sequence[Descriptor | Blob], config: ImageConfig
    ) -> dict[tuple[str, str], int]:
        """Give the driver an image's layers, if this machine runs it and they are compressed.

        Else they would be decompressed twice: now to be verified, and when the image is used.
        Returns the lengths of their tars, as far as they are known then.
        """
        if len(found) != len(config.diff_ids) or rank(host(), config.platform) is None:
            return {}
        if not any(layers.is_packed(self.context.store, each.digest) for each in found):
            return {}
        self.intake.chain.update(digests.chain_ids(config.diff_ids))
        self.intake.touched.update(config.diff_ids)
        return unpack.lay_out(
            self.context,
            [Descriptor("", each.digest, each.size) if isinstance(each, Blob) else each
             for each in found],
            config.diff_ids,
            self.progress,
        )  # fmt: skip

    def _packed(self, digest: str) -> str | None:
        """Return the layer that is stored compressed and unpacks to what has this digest."""
        if self._by_tar is None:
            self._by_tar = {
                diff_id: layer.digest
                for record in self.context.index.list()
                for layer, diff_id in zip(record.layers, record.diff_ids, strict=True)
                if self.context.store.has(layer.digest)
            }
        return self._by_tar.get(digest)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Return the manifest that ``descriptor`` names. Raises InvalidArchive."""
        what = f"manifest {descriptor.digest}"
        manifest = parse(self.document(descriptor, "manifest"), descriptor.media_type, what)
        if not isinstance(manifest, Manifest):
            raise InvalidArchive(f"{what} is an index")
        return manifest

    def plain_layer(self, blob: Blob, diff_id: str) -> Blob:
        """Return the blob, or its uncompressed form when no media type covers how it is packed."""
        if layers.has_media_type(layers.kind_of(self.context.store, blob.digest)):
            return blob
        with layers.open_layer(self.context.store, blob.digest) as stream:
            return self.intake.stream(stream, diff_id)
