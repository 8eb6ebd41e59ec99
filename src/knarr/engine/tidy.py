"""Deleting what has been put aside, off the path: nobody who waits for a container waits for it.

``put_aside`` renames a directory into ``<data_root>/trash``; the snapshot driver
has a trash of its own. ``Tidier`` empties both in a thread that lives while
there is something to do.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
from collections.abc import Callable

from knarr import errors

_log = logging.getLogger("knarr.engine")


def trash_of(data_root: str) -> str:
    """Return the directory in which things wait for their deletion."""
    return f"{data_root}/trash"


def put_aside(data_root: str, path: str) -> bool:
    """Rename a directory into the trash; False when it is not there. Raises OSError."""
    target = f"{trash_of(data_root)}/{os.path.basename(path)}.{secrets.token_hex(4)}"
    for _ in range(2):
        try:
            os.rename(path, target)
            return True
        except FileNotFoundError:
            if not os.path.lexists(path):
                return False
            os.makedirs(trash_of(data_root), mode=0o700, exist_ok=True)
    os.rename(path, target)
    return True


def empty(data_root: str) -> None:
    """Delete everything in the trash; several may do so at once. Raises OSError."""
    try:
        names = os.listdir(trash_of(data_root))
    except FileNotFoundError:
        return
    for name in names:
        try:
            shutil.rmtree(f"{trash_of(data_root)}/{name}")
        except FileNotFoundError:
            continue  # somebody else was quicker


class Tidier:
    """Runs ``work`` in a thread of its own whenever it is asked to, one run at a time."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._wanted = False
        self._thread: threading.Thread | None = None

    def later(self) -> None:
        """Have the work done soon; returns at once."""
        with self._lock:
            self._wanted = True
            if self._thread is not None and self._thread.is_alive():
                return
            self._thread = threading.Thread(target=self._run, name="knarr-tidy")
            self._thread.start()

    def wait(self) -> None:
        """Wait until everything that was asked for is done."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return
                self._wanted = False
            try:
                self._work()
            except (OSError, errors.KnarrError) as error:
                # What stays in the trash is deleted by the next who tidies up.
                _log.warning("emptying the trash: %s", error)
