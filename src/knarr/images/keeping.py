"""``Keeping``: the half of ``Images`` that keeps a store right, and knows what names stand for.

As in ``service``, what only slow verbs need is imported by them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from knarr.images import garbage, interrupted, remove
from knarr.images.context import Context, Progress, ProgressEvent, ignore_progress
from knarr.images.filters import Filters
from knarr.images.reference import Reference
from knarr.images.remove import IsRunning, PruneResult

if TYPE_CHECKING:
    from knarr.images.usage import ImagesUsage
    from knarr.registry.repository import Registry


class Keeping:
    """What ``Images`` does to all it has, over one content store, driver and index."""

    def __init__(self, context: Context, is_running: IsRunning) -> None:
        self._context = context
        self._is_running = is_running

    def prune(self, *, all: bool = False, filters: Filters | None = None) -> PruneResult:
        """Remove dangling images, or with ``all`` every one that no container uses.

        Filters: dangling, label, label!, until. Raises InvalidArgument for others.
        """
        return remove.prune(self._context, all_unused=all, filters=filters or {})

    def usage(self, image_ids: Iterable[str]) -> ImagesUsage:
        """Return what the images with these ids take on disk, and all that is stored together."""
        from knarr.images import usage

        return usage.usage(self._context, image_ids)

    def sweep(self) -> int:
        """Delete blobs and layers that nothing refers to and return the bytes freed.

        For recovery after a crash; does nothing while an image is being stored or unpacked.
        """
        from knarr.images.bootstrap import workroom

        workroom.sweep(self._context.store.root)
        return garbage.sweep(self._context, interrupted.KEPT)

    def digest_of(
        self, name: str, *, local: bool = False, progress: Progress = ignore_progress
    ) -> str:
        """Return the digest that a name stands for in its registry, or with ``local`` here.

        Of an image for several platforms it is that of the index. Raises NotFound, Unauthorized,
        Unavailable, Timeout, InvalidArgument.
        """
        from knarr.images.lockfile import resolve

        reference = Reference.parse(name)
        if reference.digest is not None:
            return reference.digest
        if local:
            return resolve.in_store(self._context, reference)
        with self._registry(reference.domain, progress) as registry:
            return resolve.in_registry(registry, reference)

    def _registry(self, host: str, progress: Progress) -> Registry:
        from knarr.registry.repository import Registry

        return Registry(host, notice=lambda text: progress(ProgressEvent("Warning", text)))
