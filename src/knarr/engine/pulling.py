"""The image of a container that is to be made is pulled: always, when it is missing, or never.

``lazy`` is as ``missing``, but nobody waits for what can be used before it has come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr import errors
from knarr.images.bootstrap.names import is_known
from knarr.images.context import ProgressEvent
from knarr.images.reference import Reference

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.images.context import Progress

CHOICES = ("always", "missing", "never", "lazy")


def missing(engine: Engine, config: ContainerConfig, progress: Progress) -> bool:
    """Pull an image that is not here, where that is wanted; return whether it is here now.

    Raises what ``Images.pull`` raises.
    """
    reference = _reference(config)
    if config.pull not in ("missing", "lazy") or reference is None:
        return False
    progress(ProgressEvent("", f"Unable to find image '{reference.familiar()}' locally"))
    try:
        _pull(engine, config, progress)
    except (errors.NotFound, errors.Unauthorized, errors.Unavailable) as error:
        name = reference.familiar()
        if not is_known(name):
            raise
        kind = errors.NotFound if isinstance(error, errors.NotFound) else errors.Unavailable
        raise kind(f"{error}; `knarr bootstrap {name}` makes it without a registry") from error
    return True


def always(engine: Engine, config: ContainerConfig, progress: Progress) -> None:
    """Pull the image anew; an id is no name, and stays what it is. Raises as ``Images.pull``."""
    if _reference(config) is not None:
        _pull(engine, config, progress)


def _pull(engine: Engine, config: ContainerConfig, progress: Progress) -> None:
    lazy = config.pull == "lazy"
    for each in engine.images.pull(
        config.image, platform=config.platform, progress=progress, lazy=lazy
    ):
        status = "Downloaded newer image" if each.is_new else "Image is up to date"
        progress(ProgressEvent("", f"Digest: {each.digest}"))
        progress(ProgressEvent("", f"Status: {status} for {each.reference.familiar()}"))


def _reference(config: ContainerConfig) -> Reference | None:
    try:
        return Reference.parse(config.image)
    except errors.InvalidArgument:
        return None
