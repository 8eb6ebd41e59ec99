"""The images of an engine, which tells what is done to them."""

from __future__ import annotations

import builtins
import contextlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, BinaryIO

from knarr.engine import arriving, events
from knarr.errors import KnarrError
from knarr.images.service import Image, Images

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.images.archive.load import LoadResult, Source
    from knarr.images.archive.save import Saved
    from knarr.images.remove import Action, PruneResult
    from knarr.images.transfer.pull import Pulled
    from knarr.images.transfer.push import Pushed


class EngineImages(Images):
    """As ``Images``; what changes them, and ``save``, is in the journal when it is done."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(
            engine.content,
            engine.driver,
            engine.index,
            is_running=engine.is_running,
            keep_compressed=engine.settings.keep_compressed,
        )
        self._engine = engine

    def load(self, source: Source, **options: Any) -> LoadResult:
        """Load all images of an archive; see ``Images.load``."""
        result = super().load(source, **options)
        for image in result.images:
            for name in image.names or ("",):
                self._tell("load", image.id, name)
        return result

    def save(self, names: Iterable[str], destination: Any, **options: Any) -> Saved:
        """Write images; see ``Images.save``."""
        wanted = list(names)
        arriving.refuse(self._engine, wanted)
        saved = super().save(wanted, destination, **options)
        for name in wanted:
            self._tell_of("save", name)
        return saved

    def import_(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        ref: str | None = None,
        **options: Any,
    ) -> Image:
        """Make an image of a tar; see ``Images.import_``."""
        image = super().import_(source, ref, **options)
        self._tell("import", image.id, ref or "")
        return image

    def tag(self, source: str, target: str) -> None:
        """Give an image a name; see ``Images.tag``."""
        super().tag(source, target)
        self._tell_of("tag", target)

    def remove(self, name: str, **options: Any) -> builtins.list[Action]:
        """Remove a name or an image; see ``Images.remove``."""
        before = self._known()
        actions = super().remove(name, **options)
        self._tell_all(actions, before)
        return actions

    def prune(self, **options: Any) -> PruneResult:
        """Remove what no container uses; see ``Images.prune``."""
        before = self._known()
        result = super().prune(**options)
        if options.get("dry_run"):
            return result
        self._tell_all(result.actions, before)
        return result

    def pull(self, name: str, **options: Any) -> builtins.list[Pulled]:
        """Bring an image in from its registry; see ``Images.pull``."""
        pulled = super().pull(name, **options)
        for each in pulled:
            self._tell("pull", each.record.id, each.reference.familiar())
        return pulled

    def push(self, name: str, **options: Any) -> builtins.list[Pushed]:
        """Upload an image to its registry; see ``Images.push``."""
        arriving.refuse(self._engine, [name])
        pushed = super().push(name, **options)
        for each in pushed:
            self._tell_of("push", each.reference.familiar())
        return pushed

    def bootstrap(self, name: str, **options: Any) -> Image:
        """Make a base image, which is told as one that was loaded; see ``Images.bootstrap``."""
        image = super().bootstrap(name, **options)
        self._tell("load", image.id, options.get("tag") or name)
        return image

    def _watch(self) -> None:
        arriving.watch(self._engine)

    def _known(self) -> dict[str, str]:
        """Return the ids of the images by what actions may call them: names and ids."""
        found: dict[str, str] = {}
        for image in self.list():
            found |= dict.fromkeys((image.id, *image.tags), image.id)
        return found

    def _tell_all(self, actions: Iterable[Action], before: dict[str, str]) -> None:
        for verb, what in actions:
            if what in before:  # else it is a layer
                self._tell("untag" if verb == "Untagged" else "delete", before[what], what)

    def _tell_of(self, action: str, name: str) -> None:
        with contextlib.suppress(KnarrError):  # removed by somebody since
            self._tell(action, self.get(name).id, name)

    def _tell(self, action: str, image_id: str, name: str) -> None:
        events.note_image(self._engine, action, image_id, name)
