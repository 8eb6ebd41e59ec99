"""The directory in which tools make an image: it goes when the work ends, however that ends.

It is where temporary files are (``TMPDIR``), since apt's own user has to get through to it, which
a data root need not allow. A note below the content store, locked by whoever works, tells
``sweep`` where to look after a process that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator

_PREFIX = "knarr-bootstrap-"
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


@contextlib.contextmanager
def workroom(store_root: str) -> Iterator[str]:
    """Yield the path of a new directory that everybody may enter; it is removed afterwards.

    What others have left goes first.
    """
    sweep(store_root)
    token, note = _note(os.path.join(store_root, "bootstrap"))
    path = os.path.join(tempfile.gettempdir(), _PREFIX + token)
    try:
        os.write(note, os.fsencode(path))
        os.mkdir(path, 0o700)
        os.chmod(path, 0o755)
        yield path
    finally:
        _remove(path, os.path.join(store_root, "bootstrap", token))
        os.close(note)


def sweep(store_root: str) -> None:
    """Remove the directories of those that were killed."""
    folder = os.path.join(store_root, "bootstrap")
    try:
        tokens = os.listdir(folder)
    except FileNotFoundError:
        return  # nothing has been made here yet
    for token in tokens:
        name = os.path.join(folder, token)
        try:
            note = os.open(name, _FLAGS)
        except FileNotFoundError:
            continue  # done in this moment
        try:
            if _lock(note):
                path = os.fsdecode(os.read(note, 4096))
                # A power loss may have kept the note and not what was written to it.
                is_ours = os.path.basename(path) == _PREFIX + token
                _remove(path if is_ours else None, name)
        finally:
            os.close(note)


def _note(folder: str) -> tuple[str, int]:
    """Return name and descriptor of a new locked note."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    while True:
        token = secrets.token_hex(8)
        name = os.path.join(folder, token)
        note = os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        # sweep() may have taken the lock, and the note, between these two calls.
        if _lock(note) and os.path.exists(name):
            return token, note
        os.close(note)


def _lock(note: int) -> bool:
    try:
        fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: str | None, note: str) -> None:
    """Remove a directory, then the note of it: who is killed between leaves the note."""
    if path is not None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(note)
