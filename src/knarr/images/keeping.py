"""``Keeping``: the part of ``Images`` that keeps a store right.

As in ``service``, what only slow verbs need is imported by them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from knarr.images import garbage, interrupted
from knarr.images.context import Context, Progress, ignore_progress
from knarr.images.filters import Filters
from knarr.images.remove import IsRunning, PruneResult

if TYPE_CHECKING:
    from knarr.images.usage import ImagesUsage
    from knarr.images.verifying import Verified


class Keeping:
    """What ``Images`` does to all it has, over one content store, driver and index."""

    def __init__(self, context: Context, is_running: IsRunning) -> None:
        self._context = context
        self._is_running = is_running

    def prune(
        self,
        *,
        all: bool = False,
        filters: Filters | None = None,
        keep_last: int | None = None,
        unused_for: float | None = None,
        dry_run: bool = False,
    ) -> PruneResult:
        """Remove dangling images, or with ``all`` every one that no container uses.

        Filters: dangling, label, label!, until. keep_last: so many of each repository stay, the
        newest; unused_for: seconds, what was used since stays; both imply ``all``. dry_run: only
        return what would be done. Raises InvalidArgument.
        """
        from knarr.images import pruning

        wish = pruning.Wish(all, filters or {}, keep_last, unused_for)
        return (pruning.rehearse if dry_run else pruning.prune)(self._context, wish)

    def usage(self, image_ids: Iterable[str]) -> ImagesUsage:
        """Return what the images with these ids take on disk, and all that is stored together."""
        from knarr.images import usage

        return usage.usage(self._context, image_ids)

    def verify(
        self,
        names: Iterable[str] = (),
        *,
        repair: bool = False,
        progress: Progress = ignore_progress,
    ) -> Verified:
        """Read images, all when none is named, and return what is not as its digest says.

        repair: have that again from the registries that images came from. Raises NotFound.
        """
        from knarr.images import transfers, verifying

        mend = (lambda host: transfers.open_registry(host, progress=progress)) if repair else None
        return verifying.verify(self._context, names, mend, progress)

    def sweep(self) -> int:
        """Delete blobs and layers that nothing refers to and return the bytes freed.

        For recovery after a crash; does nothing while an image is being stored or unpacked.
        """
        from knarr.images.bootstrap import workroom

        workroom.sweep(self._context.store.root)
        return garbage.sweep(self._context, interrupted.KEPT)
