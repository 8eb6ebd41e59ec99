"""When images were last used: the times of empty files.

    CONTENT/used/HEX    its time is when the image came in, was named, or lost a container

An image that has containers is in use; so it is enough to note that one was removed. That is one
system call beside the dozens of a removal, and nothing at all for a start.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knarr.content.store import ContentStore
    from knarr.images.index import ImageRecord


def note(content_root: str, image_id: str) -> None:
    """Note that an image is used now. Does nothing where that cannot be written down."""
    path = _path(content_root, image_id)
    with contextlib.suppress(OSError):
        try:
            os.utime(path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def when(store: ContentStore, record: ImageRecord) -> float:
    """Return when an image was last used, else when it came in: seconds since 1970, 0 for never."""
    return max(_time(_path(store.root, record.id)), arrival(store, record))


def arrival(store: ContentStore, record: ImageRecord) -> float:
    """Return when an image came in first: seconds since 1970, 0 when its config is not here."""
    return _time(store.path(record.config_digest))


def sweep(content_root: str, known: Container[str]) -> None:
    """Remove what was noted of images that are gone (OSError)."""
    folder = os.path.join(content_root, "used")
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if f"sha256:{name}" not in known:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, name))


def _path(content_root: str, image_id: str) -> str:
    return f"{content_root}/used/{image_id.rpartition(':')[2]}"


def _time(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
