"""What makes a container one, told to who starts it, before its command has done anything."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from knarr import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from knarr.engine.container import Container

    Listener = Callable[[dict[str, Any]], object]

_log = logging.getLogger("knarr.engine")


def watch(container: Container, explained: Listener | None) -> Callable[[], None] | None:
    """Return what ``start.start`` calls for whoever wants an explanation; None for nobody."""
    return None if explained is None else lambda: _tell(container, explained)


def _tell(container: Container, explained: Listener) -> None:
    """Explain a container that has just been started; what cannot be told does not end it."""
    try:
        found = container.explain()
    except errors.KnarrError as error:
        _log.warning("%s", error)
        return
    explained(found)
