"""``knarr pull``: download, verification, decompression and unpacking at the same time.

A few threads bring in blobs; the calling one unpacks layer after layer, following the bytes
of each as they come. Blobs and layers are there, each whole and verified, before the record
that makes the image visible.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import BinaryIO, NamedTuple

from knarr.content import compression
from knarr.content import digest as digests
from knarr.content.store import Blob
from knarr.errors import InvalidArchive, InvalidArgument, Unavailable, Unsupported
from knarr.images import config as configs
from knarr.images import interrupted, layers, records, unpack
from knarr.images.config import ImageConfig
from knarr.images.context import (
    Context,
    Progress,
    ProgressEvent,
    ignore_progress,
    told_of,
    translated,
)
from knarr.images.descriptor import Descriptor
from knarr.images.index import ImageRecord, IndexRecord, Member
from knarr.images.platform import Platform
from knarr.images.reference import Reference
from knarr.images.transfer import refusals
from knarr.images.transfer.download import Download
from knarr.images.transfer.resolve import Resolved, Source, resolve
from knarr.images.transfer.threads import helping, raise_first
from knarr.registry.repository import Manifest as Document
from knarr.registry.repository import Registry
from knarr.snapshots.driver import LayerSource

# Blobs of one image that come at the same time, as with Docker.
AT_ONCE = 3


class Pulled(NamedTuple):
    """What a pull did: the image, the digest of its name in the registry, whether it is new."""

    record: ImageRecord
    reference: Reference
    digest: str
    is_new: bool


def pull(
    context: Context,
    registry: Registry,
    reference: Reference,
    platform: Platform | None,
    progress: Progress,
) -> Pulled:
    """Pull an image by tag or digest for a platform (None: this machine's).

    Raises NotFound, Unauthorized, InvalidArchive, Unsupported, Unavailable, Timeout; then no
    part of the image is visible, and what was verified is there for the next attempt.
    """
    repository = registry.repository(reference.path)
    what = reference.familiar()
    with translated(f"pull {what}"), refusals.of_pull(reference), contextlib.ExitStack() as stack:
        with context.lock.shared():
            source = Source(context.store, repository)
            top = source.top(reference)
            named = reference.digest or reference.tag
            progress(ProgressEvent("", f"{named}: Pulling from {reference.path}"))
            resolved = resolve(source, reference, platform, top)
            with told_of(f"image {what}"):
                image = _Pull(context, registry, source, resolved, progress)
            stack.enter_context(image.noted())
        # Noted, its blobs and layers are no garbage: others may collect theirs meanwhile.
        with told_of(f"image {what}"):
            record = image.run()
        with context.lock.shared():
            is_new = _publish(context, reference, record, resolved)
        return Pulled(record, reference, resolved.digest, is_new)


def pull_all(
    context: Context,
    registry: Registry,
    reference: Reference,
    platform: Platform | None,
    progress: Progress,
) -> list[Pulled]:
    """Pull every tag of a repository that is an image for the platform; errors as ``pull``."""
    if reference.tag is not None or reference.digest is not None:
        raise InvalidArgument("tag can't be used with --all-tags/-a")
    with refusals.of_pull(reference):
        tags = list(registry.repository(reference.path).tags())
    pulled = []
    for tag in tags:
        named = reference.with_tag(tag)
        try:
            pulled.append(pull(context, registry, named, platform, progress))
        except Unsupported as error:  # an artifact beside the images, such as a signature
            progress(ProgressEvent("Skipped", str(error)))
    return pulled


def _publish(
    context: Context, reference: Reference, record: ImageRecord, resolved: Resolved
) -> bool:
    """Put the image into the index under its name; return whether the name is new or moved."""
    name = None if reference.digest or reference.tag is None else str(reference)
    before = context.index.resolve(name) if name else None
    stood_for = context.index.index_names().get(name) if name else None
    canonical = f"{reference.name}@{resolved.digest}"
    was_here = bool(context.index.find(record.id))
    whole, inner = None, resolved.inner
    if inner is not None:
        manifest = resolved.manifest
        blobs = (manifest.config.digest, *(layer.digest for layer in manifest.layers))
        member = Member(inner.position, record.id, inner.descriptor, blobs)
        extras = tuple(document.digest for document in inner.nested)
        document = inner.document
        whole = IndexRecord(
            document.digest, inner.parsed.media_type, len(document.body), (member,), extras
        )
    main = records.publish(context, record, (name,) if name else (), whole)
    for image_id in {record.id, main.id}:
        records.add_digest(context, image_id, canonical)
    if name is None:
        return not was_here
    return before != main.id or stood_for != (whole.digest if whole else None)


class _Pull:
    """One image on its way in."""

    def __init__(
        self,
        context: Context,
        registry: Registry,
        source: Source,
        resolved: Resolved,
        progress: Progress,
    ) -> None:
        self._context = context
        self._registry = registry
        self._source = source
        self._resolved = resolved
        self._progress = progress
        self._telling = threading.Lock()
        self._stop = threading.Event()
        self._measured: dict[tuple[str, str], int] = {}
        manifest = resolved.manifest
        self._config_bytes = source.small(manifest.config, "image config")
        self._config = configs.parse(self._config_bytes, f"image config {manifest.config.digest}")
        if len(self._config.diff_ids) != len(manifest.layers):
            raise InvalidArchive(
                f"image {manifest.config.digest} has {len(manifest.layers)} layers"
                f" but {len(self._config.diff_ids)} diff ids"
            )
        self._chain = digests.chain_ids(self._config.diff_ids)
        self._same = self._the_same()

    def noted(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which all that the image is made of is no garbage."""
        manifest = self._resolved.manifest
        wanted = {manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        wanted |= {document.digest for document in self._documents()}
        if self._same is not None:
            wanted.update(self._same.blobs)  # somebody may remove it meanwhile
        name = self._resolved.document.digest
        return interrupted.noted(self._context.store, name, wanted, self._chain)

    def run(self) -> ImageRecord:
        """Return the record of the image, whose blobs and layers are then all here."""
        if self._same is not None:
            unpack.unpack(self._context, self._same, ignore_progress)
            return self._same
        store, manifest = self._context.store, self._resolved.manifest
        for document in self._documents():
            store.add(document.body, document.digest)
        store.add(self._config_bytes, manifest.config.digest)
        if not self._is_whole(self._chain):
            self._layers(self._config, self._chain)
        stored = Blob(self._resolved.document.digest, len(self._resolved.document.body))
        return records.build(self._context, stored, manifest, lambda _event: None, self._measured)

    def _the_same(self) -> ImageRecord | None:
        """Return the image if it is here with other blobs, which serve as well.

        It may have been made here, or have come from elsewhere with its layers packed otherwise.
        As part of an index it has to be here in the index's own form, to be given away with it.
        """
        if self._resolved.inner is not None:
            return None
        for record in self._context.index.find(self._resolved.manifest.config.digest):
            if records.is_complete(self._context, record):
                return record
        return None

    def _documents(self) -> list[Document]:
        inner = self._resolved.inner
        return [self._resolved.document, *((inner.document, *inner.nested) if inner else ())]

    def _is_whole(self, chain: list[str]) -> bool:
        """Return whether everything is here already, so that there is nothing to tell."""
        return all(self._is_here(*pair) for pair in self._pairs(chain))

    def _pairs(self, chain: list[str]) -> list[tuple[Descriptor, str]]:
        return list(zip(self._resolved.manifest.layers, chain, strict=True))

    def _is_here(self, layer: Descriptor, chain_id: str) -> bool:
        store = self._context.store
        stored = store.has(layer.digest) and store.stat(layer.digest) == layer.size
        return stored and self._context.driver.has(chain_id)

    def _layers(self, config: ImageConfig, chain: list[str]) -> None:
        """Have all blobs in the store and all layers with the driver."""
        downloads = self._downloads(chain)
        with helping(AT_ONCE, self._stop, self._registry.close) as pool:
            futures: list[Future[None]] = [pool.submit(each.run) for each in downloads.values()]
            try:
                for position in range(len(chain)):
                    self._unpack(config, chain, position, downloads)
            except Unavailable:
                raise_first(futures)
                raise
            raise_first(futures)

    def _downloads(self, chain: list[str]) -> dict[str, Download]:
        """Return what is to be brought in, by digest, and tell what is here already."""
        found: dict[str, Download] = {}
        store, repository = self._context.store, self._source.repository
        for layer, chain_id in self._pairs(chain):
            if self._is_here(layer, chain_id):
                self._tell("Already exists", layer.digest)
                continue
            self._tell("Pulling fs layer", layer.digest)
            if layer.digest not in found:
                report = self._reporter(layer)
                found[layer.digest] = Download(store, repository, layer, self._stop, report)
        for waiting in list(found)[AT_ONCE:]:
            self._tell("Waiting", waiting)
        return found

    def _unpack(
        self, config: ImageConfig, chain: list[str], position: int, downloads: dict[str, Download]
    ) -> None:
        layer = self._resolved.manifest.layers[position]
        diff_id, driver = config.diff_ids[position], self._context.driver
        if driver.has(chain[position]):
            if layer.digest in downloads:
                self._tell("Pull complete", layer.digest)
            return

        def opened() -> BinaryIO:
            if layer.digest not in downloads:
                return layers.open_layer(self._context.store, layer.digest)
            limit = layers.size_limit(layer.size)
            return compression.open_decompressed(downloads[layer.digest].reader(), limit=limit)

        length = 0

        def report(done: int) -> None:
            nonlocal length
            length = done
            self._tell("Extracting", layer.digest, done)

        source = LayerSource(
            diff_id=diff_id,
            open=opened,
            blob_path=self._context.store.path(layer.digest),
            media_type=layer.media_type,
            blob_digest=layer.digest,
        )
        with told_of(f"layer {layer.digest[:19]}"):
            driver.commit_layer(
                chain[position], chain[position - 1] if position else None, source, report
            )
        if length:
            self._measured[layer.digest, diff_id] = length
        self._tell("Pull complete", layer.digest)

    def _reporter(self, layer: Descriptor) -> Callable[[str, int | None], None]:
        def report(state: str, count: int | None) -> None:
            self._tell(state, layer.digest, count, layer.size)

        return report

    def _tell(
        self, state: str, subject: str, current: int | None = None, total: int | None = None
    ) -> None:
        with self._telling:
            self._progress(ProgressEvent(state, subject, current, total))
