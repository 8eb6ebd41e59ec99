"""What a pull wants is no garbage, from before its first byte until its image is there.

    CONTENT/pulls/HEX.TOKEN   {"blobs": [...], "layers": [...]}: what one pull brings in

The note is written before the first byte comes and removed when the image has a record. Its pull
holds a flock(2) on it, which ends however the pull does. So garbage can be collected while pulls
run; and what one that was interrupted has verified stays for the next attempt, until ``image
prune`` removes its note, or time does.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from knarr.content import digest as digests
from knarr.content import parts
from knarr.content.store import ContentStore

# An interrupted pull is kept for so many seconds by `recover`: a week.
KEPT = 7 * 24 * 3600.0
_UNFINISHED = ".new"


@dataclass(frozen=True, slots=True)
class Kept:
    """Digests of blobs and chain ids of layers that pulls want, and those that may go on."""

    blobs: set[str] = field(default_factory=set)
    layers: set[str] = field(default_factory=set)


@contextlib.contextmanager
def noted(
    store: ContentStore, manifest: str, blobs: Iterable[str], layers: Iterable[str]
) -> Iterator[None]:
    """Keep blobs and layers of the image with this manifest digest until the block has ended well.

    Entered with the lock held (see ``locking``), which may be let go of inside. Left by an
    exception, or killed, they stay until the next attempt has ended. Raises OSError.
    """
    folder = _folder(store)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    start = digests.parse(manifest)[1]
    path = os.path.join(folder, f"{start}.{secrets.token_hex(8)}")
    fd = os.open(path + _UNFINISHED, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        note = json.dumps({"blobs": sorted(blobs), "layers": sorted(layers)})
        with open(fd, "w", encoding="utf-8", closefd=False) as file:
            file.write(note)
        os.rename(path + _UNFINISHED, path)
        # What earlier attempts at the image kept, this one does now.
        _remove(each for each in _notes(store) if os.path.basename(each).startswith(start + "."))
        yield
        os.unlink(path)
    finally:
        os.close(fd)


def kept(store: ContentStore, *, ended: bool = True) -> Kept:
    """Return what the notes name; without ``ended`` only those of pulls that run. Raises OSError.

    To be asked before records are: a pull gives its image a record before it removes its note.
    """
    found = Kept()
    for path in _notes(store):
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            # Gone just now, or cut off by a loss of power: then it keeps nothing.
            with open(path, "rb") as file:
                if not ended and _take(file.fileno()):
                    continue
                note = json.loads(file.read())
            found.blobs.update(note["blobs"])
            found.layers.update(note["layers"])
    return found


def forget(store: ContentStore, older_than: float) -> int:
    """Remove notes and parts of pulls that ended, older than so many seconds; return bytes freed.

    Called with the lock held exclusively, so that no pull begins. Raises OSError.
    """
    horizon = time.time() - older_than
    _remove(_notes(store, unfinished=True), horizon)
    return parts.remove_old(store, older_than, kept(store, ended=False).blobs)


def _remove(paths: Iterable[str], horizon: float = float("inf")) -> None:
    """Remove those notes whose pull has ended and that are not newer than ``horizon``."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            if _take(file.fileno()) and os.fstat(file.fileno()).st_mtime <= horizon:
                os.unlink(path)


def _take(fd: int) -> bool:
    """Take the lock of a note; return whether nobody has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _folder(store: ContentStore) -> str:
    return os.path.join(store.root, "pulls")


def _notes(store: ContentStore, *, unfinished: bool = False) -> list[str]:
    folder = _folder(store)
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [
        os.path.join(folder, name) for name in names if unfinished or not name.endswith(_UNFINISHED)
    ]
