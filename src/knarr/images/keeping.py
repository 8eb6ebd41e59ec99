"""``Keeping``: the part of ``Images`` that keeps a store right.

As in ``service``, what only slow verbs need is imported by them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from knarr.images import garbage, interrupted
from knarr.images.context import Context, Progress, ignore_progress
from knarr.images.filters import Filters
from knarr.images.platform import Platform
from knarr.images.remove import IsRunning, PruneResult
from knarr.images.target import find_target, for_platform

if TYPE_CHECKING:
    from knarr.images.comparing import Comparison
    from knarr.images.index import ImageRecord
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
        files: bool = False,
        progress: Progress = ignore_progress,
    ) -> Verified:
        """Read images, all when none is named, and return what is not as its digest says.

        repair: have that again from the registries that images came from. files: compare each file
        that containers see with the layers, too. Raises NotFound.
        """
        from knarr.images import transfers, verifying

        mend = (lambda host: transfers.open_registry(host, progress=progress)) if repair else None
        return verifying.verify(self._context, names, mend, progress, files=files)

    def diff(
        self,
        before: str,
        after: str,
        *,
        platform: str | None = None,
        progress: Progress = ignore_progress,
    ) -> Comparison:
        """Return what of files and configuration is otherwise in the image ``after``.

        platform: which of images for several. Raises NotFound, InvalidArchive.
        """
        from knarr.images import comparing

        first, second = (self._one(name, platform) for name in (before, after))
        return comparing.compare(self._context, first, second, progress)

    def _one(self, name: str, platform: str | None) -> ImageRecord:
        target = find_target(self._context.index, name)
        if platform is None:
            return target.record
        return for_platform(target, Platform.parse(platform), name)[1]

    def sweep(self) -> int:
        """Delete blobs and layers that nothing refers to and return the bytes freed.

        For recovery after a crash; does nothing while an image is being stored or unpacked.
        """
        from knarr.images.bootstrap import workroom

        workroom.sweep(self._context.store.root)
        return garbage.sweep(self._context, interrupted.KEPT)
