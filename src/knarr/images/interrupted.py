"""What an interrupted pull has verified stays for the next attempt, though no image has it yet.

    CONTENT/pulls/HEX   {"blobs": [...], "layers": [...]}: what one pull brings in

The note is written before the first byte comes and removed when the image is there. While it
stands, its blobs and layers are no garbage; ``image prune`` removes it, and so does time.
"""

from __future__ import annotations

import contextlib
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


@dataclass(frozen=True, slots=True)
class Kept:
    """Digests of blobs and chain ids of layers that interrupted pulls may still want."""

    blobs: set[str] = field(default_factory=set)
    layers: set[str] = field(default_factory=set)


@contextlib.contextmanager
def noted(
    store: ContentStore, manifest: str, blobs: Iterable[str], layers: Iterable[str]
) -> Iterator[None]:
    """Keep blobs and layers of the image with this manifest digest until the block has ended well.

    Left by an exception, or killed, they stay until the next attempt has ended. Raises OSError.
    """
    folder = _folder(store)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, digests.parse(manifest)[1])
    temporary = f"{path}.{secrets.token_hex(4)}"
    with open(temporary, "x", encoding="utf-8") as file:
        json.dump({"blobs": sorted(blobs), "layers": sorted(layers)}, file)
    os.rename(temporary, path)
    yield
    with contextlib.suppress(FileNotFoundError):  # another pull of the image ended before us
        os.unlink(path)


def kept(store: ContentStore) -> Kept:
    """Return what the notes name. Raises OSError."""
    found = Kept()
    for path in _notes(store):
        try:
            with open(path, "rb") as file:
                note = json.loads(file.read())
            found.blobs.update(note["blobs"])
            found.layers.update(note["layers"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue  # gone just now, or cut off by a loss of power: then it keeps nothing
    return found


def forget(store: ContentStore, older_than: float) -> None:
    """Remove notes and parts of blobs that are older than so many seconds (OSError).

    Called with the lock held exclusively, so that no pull is under way.
    """
    horizon = time.time() - older_than
    for path in _notes(store):
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_mtime <= horizon:
                os.unlink(path)
    parts.remove_old(store, older_than)


def _folder(store: ContentStore) -> str:
    return os.path.join(store.root, "pulls")


def _notes(store: ContentStore) -> list[str]:
    folder = _folder(store)
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder)]
    except FileNotFoundError:
        return []
