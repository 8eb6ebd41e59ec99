"""What every verb of the images room works on: blobs, layers, records and progress."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from knarr.content.store import ContentStore
from knarr.errors import (
    Forbidden,
    InvalidArchive,
    KnarrError,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from knarr.images.index import ImageIndex
from knarr.images.locking import UseLock
from knarr.snapshots.driver import Driver


@dataclass(frozen=True, slots=True)
class Context:
    """The neighbours of the images room, passed down and never global.

    keep_compressed: layers stay as they came, also where their tars are kept for containers.
    """

    store: ContentStore
    driver: Driver
    index: ImageIndex
    lock: UseLock
    keep_compressed: bool = False


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """One step of something slow: ``action`` on ``subject``, ``current`` of ``total`` bytes.

    total is None when it is not known. A line of text (what a tool printed) is
    an event with current and total None.
    """

    action: str
    subject: str
    current: int | None = None
    total: int | None = None


Progress = Callable[[ProgressEvent], None]


def ignore_progress(event: ProgressEvent) -> None:
    """Take a progress event and do nothing: for callers that show none."""
    del event


_ERRORS: dict[int, type[KnarrError]] = {
    errno.ENOENT: NotFound,
    errno.ENOTDIR: NotFound,
    errno.EACCES: Forbidden,
    errno.EPERM: Forbidden,
    errno.EROFS: Forbidden,
    errno.ENOSPC: ResourceExhausted,
    errno.EDQUOT: ResourceExhausted,
    errno.ENFILE: ResourceExhausted,
    errno.EMFILE: ResourceExhausted,
}


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn an OSError of the block into the KnarrError that fits, naming ``what``."""
    try:
        yield
    except OSError as error:
        kind = _ERRORS.get(error.errno or 0, Unavailable)
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        raise kind(f"{what}: {where}{error.strerror or error}") from error


@contextlib.contextmanager
def told_of(subject: object) -> Iterator[None]:
    """Have an InvalidArchive of the block begin with ``subject``, unless that is a stream."""
    try:
        yield
    except InvalidArchive as error:
        if not isinstance(subject, str | os.PathLike):
            raise
        raise InvalidArchive(f"{os.fspath(subject)}: {error}") from error
