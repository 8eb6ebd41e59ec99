"""``Images``: everything one can do with images, as one object the engine holds.

Each method is a verb; the rules of each are in the module of that name. What only
slow verbs need is imported by them, since ``run`` waits for this module.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from knarr.content import digest as digests
from knarr.content.store import ContentStore
from knarr.errors import InvalidArgument
from knarr.images import filters as filtering
from knarr.images import history, inspect, lastuse, records, remove, unpack
from knarr.images.context import Context, Progress, ignore_progress
from knarr.images.filters import Filters
from knarr.images.find import find
from knarr.images.history import HistoryLine
from knarr.images.index import ImageIndex, ImageRecord
from knarr.images.keeping import Keeping
from knarr.images.locking import UseLock
from knarr.images.platform import Platform
from knarr.images.reference import Reference
from knarr.images.remove import Action, IsRunning
from knarr.images.target import find_target, for_platform, hidden_ids
from knarr.images.transfers import Transfers
from knarr.snapshots.driver import Driver

if TYPE_CHECKING:
    from knarr.images.archive import load as loading
    from knarr.images.archive import save as saving
    from knarr.images.committing import HistoryNote


@dataclass(frozen=True, slots=True)
class Image:
    """An image as callers see it: its record and its familiar names, sorted."""

    record: ImageRecord
    tags: tuple[str, ...]

    @property
    def id(self) -> str:
        """The config digest, ``sha256:HEX``."""
        return self.record.id

    @property
    def short_id(self) -> str:
        """The first twelve hex digits of the id."""
        return self.record.id.removeprefix("sha256:")[:12]

    @property
    def size(self) -> int:
        """Bytes of all layers, uncompressed."""
        return self.record.size

    @property
    def created(self) -> str:
        """When it was made, RFC 3339; empty when the image does not say."""
        return self.record.created

    @property
    def platform(self) -> Platform:
        """Operating system and architecture it is for."""
        return self.record.platform


@dataclass(frozen=True, slots=True)
class PlatformImage:
    """One platform of an image: what it is for by its index, and its record."""

    platform: Platform
    record: ImageRecord


class Images(Keeping, Transfers):
    """The images of one engine, over a content store, a snapshot driver and an index.

    ``is_running`` tells whether the container with an id runs now; without it every container
    that uses an image counts as running, which is the safe side. ``keep_compressed``: compressed
    layers stay beside the tars that a driver keeps of them.
    """

    def __init__(
        self,
        store: ContentStore,
        driver: Driver,
        index: ImageIndex,
        *,
        is_running: IsRunning | None = None,
        keep_compressed: bool = False,
    ) -> None:
        lock = UseLock(os.path.join(store.root, "in-use.lock"))
        context = Context(store, driver, index, lock, keep_compressed)
        super().__init__(context, is_running or bool)

    def get(self, name: str, platform: str | None = None) -> Image:
        """Return the image that a name, ``name@digest``, id or start of an id means.

        platform: which of an image for several (``linux/arm64``); None means this machine.
        Raises NotFound, whose message tells how to get the image; Conflict if ambiguous.
        """
        if platform is None:
            return self._image(find(self._context.index, name))
        target = find_target(self._context.index, name)
        _, record = for_platform(target, Platform.parse(platform), name)
        return Image(record, self._image(target.record).tags)

    def platforms(self, image: Image | str) -> builtins.list[PlatformImage]:
        """Return the platforms that are here of an image, those of its index in its order.

        An image of one platform gives that. Raises NotFound.
        """
        name = image if isinstance(image, str) else (image.tags[0] if image.tags else image.id)
        target = find_target(self._context.index, name)
        return [PlatformImage(member.platform, record) for member, record in target.members] or [
            PlatformImage(target.record.platform, target.record)
        ]

    def platform_ids(self, name: str) -> frozenset[str]:
        """Return the ids of all platforms of an image, of which a container has one."""
        return frozenset(each.id for each in find_target(self._context.index, name).records)

    def list(self, filters: Filters | None = None) -> builtins.list[Image]:
        """Return the images, newest first; one for several platforms is listed once.

        Filters: dangling, label, before, since, until, reference; InvalidArgument for others.
        """
        test = filtering.compile_filters(self._context, filters or {}, filtering.LIST_KEYS)
        hidden = hidden_ids(self._context.index)
        records = (each for each in self._context.index.list() if each.id not in hidden)
        found = [record for record in records if test(record)]
        found.sort(key=lambda record: (filtering.created_at(record), record.id), reverse=True)
        return [self._image(record) for record in found]

    def load(
        self,
        source: loading.Source,
        *,
        platform: str | None = None,
        progress: Progress = ignore_progress,
    ) -> loading.LoadResult:
        """Load all images of an archive: path, layout directory or binary stream.

        An image for several platforms comes with all of them, or with ``platform`` alone. All or
        nothing. Raises InvalidArchive, Unsupported, NotFound (no image for the platform).
        """
        from knarr.images.archive import load as loading

        return loading.load(self._context, source, _platform(platform), progress)

    def save(
        self,
        names: Iterable[str],
        destination: saving.Destination,
        *,
        format: str = "docker-archive",
        compress: str | None = None,
        platform: str | None = None,
        since: Iterable[str] = (),
        progress: Progress = ignore_progress,
    ) -> saving.Saved:
        """Write images to a path, a binary stream or (``oci-dir``) a new directory.

        format: ``docker-archive``, ``oci`` or ``oci-dir``; compress: ``gzip``, ``zstd`` or None.
        A name without a tag means all tags of that repository, an id saves no name. An image for
        several platforms is saved with all that are here, or with ``platform`` alone. since: images
        that whoever loads it has, whose layers are left out.
        Raises NotFound, InvalidArgument, Conflict for a directory that is not empty.
        """
        from knarr.images.archive import save as saving

        selected = self._select(names, _platform(platform))
        omitted = saving.without(self._context, since)
        return saving.save(
            self._context, selected, destination, format, compress, progress, omitted
        )

    def import_(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        ref: str | None = None,
        *,
        changes: Iterable[str] = (),
        message: str = "",
        platform: str | None = None,
        progress: Progress = ignore_progress,
    ) -> Image:
        """Make an image of one layer from a tar and return it.

        changes: Dockerfile instructions (``CMD ["sh"]``). Raises InvalidArchive, InvalidArgument.
        """
        from knarr.images import importing

        name = None if ref is None else _tagged(ref)
        wanted = _platform(platform)
        record = importing.import_tar(
            self._context, source, name, changes, message, wanted, progress
        )
        return self._image(record)

    def commit(
        self,
        parent_id: str,
        layer: Iterable[bytes],
        config: dict[str, Any],
        ref: str | None = None,
        *,
        note: HistoryNote,
        progress: Progress = ignore_progress,
    ) -> Image:
        """Make an image of one layer, an uncompressed tar, above another image; return it.

        config: what containers of it inherit. Raises InvalidArgument for the name.
        """
        from knarr.images import committing

        name = None if ref is None else _tagged(ref)
        parent = self._context.index.get(parent_id)
        record = committing.commit(self._context, parent, layer, config, name, note, progress)
        return self._image(record)

    def tag(self, source: str, target: str) -> None:
        """Let the name ``target`` point at the image ``source``, moving it if it exists.

        Raises NotFound for the image, InvalidArgument for a target with a digest.
        """
        found = find_target(self._context.index, source)
        whole = found.whole.digest if found.whole else None
        self._context.index.tag(_tagged(target), found.record.id, whole)
        lastuse.note(self._context.store.root, found.record.id)

    def remove(
        self,
        name: str,
        *,
        force: bool = False,
        no_prune: bool = False,
        platform: str | None = None,
    ) -> builtins.list[Action]:
        """Remove a name, or an image by id; return ("Untagged" | "Deleted", what) in order.

        platform: remove only that of an image for several. no_prune keeps blobs and layers until
        the next prune. Raises NotFound, Conflict.
        """
        if platform is not None:
            wanted = Platform.parse(platform)
            return remove.remove_platform(self._context, name, wanted, no_prune=no_prune)
        return remove.remove(
            self._context, name, force=force, no_prune=no_prune, is_running=self._is_running
        )

    def history(self, name: str, platform: str | None = None) -> builtins.list[HistoryLine]:
        """Return the history of an image, newest step first. Raises NotFound."""
        image = self.get(name, platform)
        config = records.read_config(self._context, image.record.config_digest)
        return history.lines(image.record, config, image.tags)

    def inspect(self, name: str, platform: str | None = None) -> dict[str, Any]:
        """Return the image, or one platform of it, in the JSON of Docker's API. Raises NotFound."""
        target = find_target(self._context.index, name)
        record = target.record
        if platform is not None:
            _, record = for_platform(target, Platform.parse(platform), name)
        config = records.read_config(self._context, record.config_digest)
        tags = self._context.index.tags(target.record.id)
        shown = inspect.inspect(record, config, tags, self._context.driver.name)
        if target.whole is not None and platform is None:
            return shown | inspect.whole(target, self._context)
        size = self._context.store.stat(record.manifest_digest)
        return shown | inspect.one(record, size)

    def config(self, image: Image | str) -> dict[str, Any]:
        """Return the OCI image config of an image or name. Raises NotFound."""
        record = self._record(image)
        return records.read_config(self._context, record.config_digest).document

    def unpack(self, image: Image | str, progress: Progress = ignore_progress) -> str | None:
        """Have the image's layers with the snapshot driver; return the topmost chain id.

        None for an image without layers. Quick when they are there. Raises NotFound,
        InvalidArchive, Unsupported.
        """
        return unpack.unpack(self._context, self._record(image), progress)

    def bootstrap(
        self,
        name: str,
        *,
        mirror: str | None = None,
        snapshot: str | None = None,
        include: Iterable[str] = (),
        tag: str | None = None,
        progress: Progress = ignore_progress,
    ) -> Image:
        """Make a base image (``busybox``, ``debian:bookworm``, ...) from Debian's packages.

        mirror: base address of the package mirror; None takes the one of this machine's apt.
        snapshot: the moment (``20260101T000000Z``) of a mirror that keeps snapshots.
        include: packages beside the few of a base image. tag: a name instead of the usual one.
        Raises InvalidArgument for an unknown name, Unsupported naming the package that
        is missing here, Unavailable when the mirror does not answer.
        """
        from knarr.images.bootstrap.build import Wish, bootstrap

        wish = Wish(mirror, snapshot, tuple(include), tag)
        return self._image(bootstrap(self._context, name, wish, progress))

    def _image(self, record: ImageRecord) -> Image:
        tags = self._context.index.tags(record.id)
        return Image(record, tuple(sorted(Reference.parse(tag).familiar() for tag in tags)))

    def _record(self, image: Image | str) -> ImageRecord:
        return image.record if isinstance(image, Image) else find(self._context.index, image)

    def _select(
        self, names: Iterable[str], platform: Platform | None
    ) -> builtins.list[saving.Selected]:
        from knarr.images.archive.save import selection

        selected: dict[str, saving.Selected] = {}
        for name in names:
            for each in selection(self._context.index, name, platform):
                known = selected.get(each.entry.digest, each)
                merged = tuple(dict.fromkeys((*known.names, *each.names)))
                selected[each.entry.digest] = replace(known, names=merged)
        if not selected:
            raise InvalidArgument("save needs at least one image")
        return list(selected.values())


def _platform(text: str | None) -> Platform | None:
    return Platform.parse(text) if text else None


def _tagged(text: str) -> str:
    reference = Reference.parse(text)
    if reference.digest is not None:
        raise InvalidArgument(f"refusing to create a tag with a digest reference: {text!r}")
    if reference.familiar_name in digests.ALGORITHMS:
        raise InvalidArgument(f"refusing to create a tag that reads like a digest: {text!r}")
    return str(reference)
