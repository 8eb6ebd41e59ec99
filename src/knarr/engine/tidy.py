"""Deleting what has been put aside, off the path: nobody who waits for a container waits for it.

``put_aside`` renames a directory into ``<data_root>/trash``; the snapshot driver
has a trash of its own. ``Tidier`` empties both in a thread.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import shutil
import threading
import weakref
from collections.abc import Callable

from knarr import errors

_log = logging.getLogger("knarr.engine")

_PAUSE = 0.05  # seconds in which requests gather
_ROUNDS = 10  # pauses without a request after which the thread ends


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
    """Does ``work`` in a thread some time after it was asked to, for all who asked meanwhile.

    The thread stays a moment, so that one who removes many containers neither pays for a
    thread each nor shares the interpreter with it all the time. It keeps no process alive:
    what is left at its end is done then. In a forked child there is no thread, and the
    first who asks gets one.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._wanted = False
        self._thread: threading.Thread | None = None
        self._hurry = threading.Lock()
        _tidiers.add(self)

    def later(self) -> None:
        """Have the work done soon; returns at once."""
        self._wanted = True
        if not self._is_at_it():
            self._hurry = threading.Lock()
            self._hurry.acquire()
            self._thread = threading.Thread(
                target=self._run, args=(self._hurry,), name="knarr-tidy", daemon=True
            )
            self._thread.start()

    def wait(self) -> None:
        """Return when everything that was asked for is done."""
        thread = self._thread
        if thread is not None and self._is_at_it():
            try:
                self._hurry.release()
            except RuntimeError:
                pass  # somebody else waits too
            thread.join()
        if self._wanted:
            self._do()

    def _is_at_it(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self, hurry: threading.Lock) -> None:
        quiet = 0
        while quiet < _ROUNDS:
            hurried = hurry.acquire(timeout=_PAUSE)
            if self._wanted:
                quiet = 0
                self._do()
            if hurried:
                break
            quiet += 1
        self._thread = None  # whoever asks from here on starts another
        if self._wanted:
            self._do()

    def _do(self) -> None:
        self._wanted = False
        try:
            self._work()
        except (OSError, errors.KnarrError) as error:
            # What stays in the trash is deleted by the next who tidies up.
            _log.warning("emptying the trash: %s", error)


_tidiers: weakref.WeakSet[Tidier] = weakref.WeakSet()


@atexit.register
def _finish() -> None:
    """Do what is left at the end of the process."""
    for tidier in list(_tidiers):
        tidier.wait()
