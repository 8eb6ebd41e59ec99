"""``system df``: what images and containers take on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from knarr import errors

if TYPE_CHECKING:
    from knarr.engine.container import Container
    from knarr.engine.engine import Engine
    from knarr.images.service import Image
    from knarr.images.usage import ImageUsage


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """Bytes that a container has written; active: it runs, is paused, or is started again."""

    container: Container
    size: int
    active: bool


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """What is on disk below the data root, in bytes.

    images: what is listed, the newest first, with what each takes. images_size counts each byte
    once, and what no image refers to any more; images_reclaimable is what no image with a
    container has, which ``images.prune(all=True)`` frees. images_partial: of images_size, what has
    come of blobs that are not whole.
    """

    images: tuple[tuple[Image, ImageUsage], ...]
    images_size: int
    images_reclaimable: int
    containers: tuple[ContainerUsage, ...]
    images_partial: int = 0

    @property
    def containers_size(self) -> int:
        """What all containers have written."""
        return sum(each.size for each in self.containers)

    @property
    def containers_reclaimable(self) -> int:
        """What containers have written that do not run, which ``containers.prune`` frees."""
        return sum(each.size for each in self.containers if not each.active)


def measure(engine: Engine) -> DiskUsage:
    """Return what is on disk now; every writable layer is looked through, which may take long."""
    listed = {image.id: image for image in engine.images.list()}
    found = engine.images.usage(listed)
    return DiskUsage(
        tuple((listed[each.image_id], each) for each in found.images),
        found.total,
        found.reclaimable,
        tuple(_containers(engine)),
        found.partial,
    )


def _containers(engine: Engine) -> list[ContainerUsage]:
    found = []
    for container in engine.containers.list(all=True):
        try:
            size = engine.driver.usage(container.id).size
        except (errors.NotFound, FileNotFoundError):
            continue  # removed since it was listed
        state = container.state
        found.append(ContainerUsage(container, size, state.running or state.restarting))
    return found
