"""``knarr pull``: download, verification, decompression and unpacking at the same time.

A few threads bring in blobs; the calling one unpacks layer after layer, following the bytes
of each as they come. Blobs and layers are there, each whole and verified, before the record
that makes the image visible. A compressed layer whose tar the driver keeps becomes no blob
(see ``tars``), and does not come again for another image.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from knarr.content import compression
from knarr.content import digest as digests
from knarr.content.store import Blob
from knarr.errors import InvalidArchive, InvalidArgument, Unavailable, Unsupported
from knarr.images import config as configs
from knarr.images import garbage, interrupted, layers, records, tars, unpack
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

if TYPE_CHECKING:
    from knarr.images.lazy.expected import Expected

    Expect = Callable[[dict[str, Any]], Expected]

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
    expect: Expect | None = None,
) -> Pulled:
    """Pull an image by tag or digest for a platform (None: this machine's).

    expect: given where layers come from, returns what leaves them to come where that can be.

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
                image.expected = None if expect is None else expect(image.origin(reference))
            stack.enter_context(image.noted())
        # Noted, its blobs and layers are no garbage: others may collect theirs meanwhile.
        with told_of(f"image {what}"):
            record = image.run()
        with context.lock.shared():
            is_new = _publish(context, reference, record, resolved)
        image.tidy()
        return Pulled(record, reference, resolved.digest, is_new)


def pull_all(
    context: Context,
    registry: Registry,
    reference: Reference,
    platform: Platform | None,
    progress: Progress,
    expect: Expect | None = None,
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
            pulled.append(pull(context, registry, named, platform, progress, expect))
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
        self.expected: Expected | None = None
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

    def origin(self, reference: Reference) -> dict[str, Any]:
        """Return where layers come from, and what image they are of."""
        return {
            "host": reference.domain,
            "repository": reference.path,
            "image": self._resolved.manifest.config.digest,
            "name": reference.familiar(),
        }

    def noted(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which all that the image is made of is no garbage."""
        manifest = self._resolved.manifest
        wanted = {manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        wanted |= {document.digest for document in self._documents()}
        wanted.update(self._config.diff_ids)
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
        if not all(self._is_here(each) for each in range(len(self._chain))):
            self._layers()
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

    def tidy(self) -> None:
        """Drop compressed layers that were here before, and of which tars are kept now."""
        found = [layer.digest for layer in self._resolved.manifest.layers]
        store = self._context.store
        garbage.collect(
            self._context,
            [each for each in found if store.has(each) and tars.replaces(self._context, each)],
        )

    def _is_here(self, position: int) -> bool:
        """Return whether a layer is here in every form, so that there is nothing to do."""
        layer = self._resolved.manifest.layers[position]
        store = self._context.store
        is_stored = store.has(layer.digest) and store.stat(layer.digest) == layer.size
        is_stored = is_stored or self._is_kept_as_tar(position)
        return is_stored and self._context.driver.has(self._chain[position])

    def _is_kept_as_tar(self, position: int) -> bool:
        layer = self._resolved.manifest.layers[position]
        return tars.of(self._context.store, layer.digest) == self._config.diff_ids[position]

    def _layers(self) -> None:
        """Have all blobs in the store and all layers with the driver."""
        with contextlib.ExitStack() as stack:
            downloads = self._downloads()
            for each in downloads.values():
                stack.enter_context(each)
            pool = stack.enter_context(helping(AT_ONCE, self._stop, self._registry.close))
            futures: list[Future[None]] = [pool.submit(each.run) for each in downloads.values()]
            try:
                for position in range(len(self._chain)):
                    self._unpack(position, downloads, stack)
            except Unavailable:
                raise_first(futures)
                raise
            raise_first(futures)

    def _downloads(self) -> dict[str, Download]:
        """Return what is to be brought in, by digest, and tell what is here already."""
        found: dict[str, Download] = {}
        for position, layer in enumerate(self._resolved.manifest.layers):
            if self._is_here(position):
                self._tell("Already exists", layer.digest)
                continue
            if self._is_expected(position):
                continue
            self._tell("Pulling fs layer", layer.digest)
            if layer.digest not in found and not self._is_kept_as_tar(position):
                found[layer.digest] = self._download(position)
        for waiting in list(found)[AT_ONCE:]:
            self._tell("Waiting", waiting)
        return found

    def _download(self, position: int) -> Download:
        layer, diff_id = self._resolved.manifest.layers[position], self._config.diff_ids[position]
        store, repository = self._context.store, self._source.repository
        tar = diff_id if tars.is_wanted(self._context, layer, diff_id) else None
        return Download(store, repository, layer, self._stop, self._reporter(layer), tar)

    def _is_expected(self, position: int) -> bool:
        """Return whether a layer is left to come; tell why not."""
        layer, chain_id = self._resolved.manifest.layers[position], self._chain[position]
        if self.expected is None or not self.expected.is_worth(layer):
            return False
        if self._context.driver.has(chain_id):  # it came, or has been coming since some time
            return self.expected.takes(layer)
        reason = self.expected.refuses(self._source.repository, layer)
        if reason:
            self._tell("Warning", f"layer {layer.digest[7:19]} comes as a whole: {reason}")
        return not reason

    def _expect(self, expected: Expected, position: int) -> bool:
        """Have the driver make a layer that is to come; return whether it did, tell why not."""
        layer, diff_id = self._resolved.manifest.layers[position], self._config.diff_ids[position]
        with told_of(f"layer {layer.digest[:19]}"):
            chain = self._chain[: position + 1]
            reason = expected.expect(self._context.driver, layer, diff_id, chain)
        if reason:
            self._tell("Warning", f"layer {layer.digest[7:19]} comes as a whole: {reason}")
            return False
        size = expected.tar_size(self._context.driver, layer, chain[-1])
        if size is not None:
            self._measured[layer.digest, diff_id] = size
        self._tell("Arriving", layer.digest)
        return True

    def _unpack(
        self, position: int, downloads: dict[str, Download], stack: contextlib.ExitStack
    ) -> None:
        """Have a layer with the driver, and then of its blob whatever is to stay."""
        layer, diff_id = self._resolved.manifest.layers[position], self._config.diff_ids[position]
        if self.expected is not None and self.expected.has(layer):
            if self._expect(self.expected, position):
                return
            downloads[layer.digest] = stack.enter_context(self._download(position))
            downloads[layer.digest].run()
        download = downloads.get(layer.digest)
        if download is None and self._is_here(position):
            return

        def give() -> unpack.Given:
            return unpack.give(
                self._context,
                layer,
                diff_id,
                self._chain[: position + 1],
                lambda: self._opened(layer, download),
                lambda done: self._tell("Extracting", layer.digest, done),
            )

        def measure() -> int:
            with self._opened(layer, download) as stream:
                return layers.measure_stream(stream, *pair)

        pair = (layer.digest, diff_id)
        given = give() if download is None else download.read_again(give)
        if given.was_read:
            self._measured[pair] = given.length
        elif layer.digest != diff_id and pair not in self._measured:
            if not self._is_kept_as_tar(position):
                # The driver had no need of it: what it unpacks to is still to be seen.
                self._measured[pair] = (
                    measure() if download is None else download.read_again(measure)
                )
        is_kept = tars.keep(self._context, layer, diff_id, self._chain[position])
        if download is not None:
            download.settle(publish=not is_kept)
        self._tell("Pull complete", layer.digest)

    def _opened(self, layer: Descriptor, download: Download | None) -> BinaryIO:
        """Return a layer's tar from what is on its way, or else from the store."""
        if download is None or download.is_kept_as_tar():
            return layers.open_layer(self._context.store, layer.digest)
        limit = layers.size_limit(layer.size)
        stream = download.reader()
        try:
            return compression.open_decompressed(stream, limit=limit)
        except BaseException:
            stream.close()
            raise

    def _reporter(self, layer: Descriptor) -> Callable[[str, int | None], None]:
        def report(state: str, count: int | None) -> None:
            self._tell(state, layer.digest, count, layer.size)

        return report

    def _tell(
        self, state: str, subject: str, current: int | None = None, total: int | None = None
    ) -> None:
        with self._telling:
            self._progress(ProgressEvent(state, subject, current, total))
