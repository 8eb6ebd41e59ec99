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
        _tidiers.add(self)
        self.start_anew()

    def start_anew(self) -> None:
        """Have no thread and free locks; called in a forked child too."""
        self._thread: threading.Thread | None = None
        self._deciding = threading.Lock()  # whether there is a thread
        self._working = threading.Lock()
        self._hurry = threading.Lock()  # held until the thread has to end

    def later(self) -> None:
        """Have the work done soon; returns at once."""
        with self._deciding:
            self._wanted = True
            if self._thread is None:
                self._hurry = threading.Lock()
                self._hurry.acquire()
                self._thread = threading.Thread(
                    target=self._run, args=(self._hurry,), name="knarr-tidy", daemon=True
                )
                self._thread.start()

    def wait(self) -> None:
        """Return when everything that was asked for is done."""
        self.end_thread()
        if self._wanted:
            self._do()
        with self._working:
            return  # nobody else is at it any more

    def end_thread(self, seconds: float | None = None) -> None:
        """Have the thread end as soon as it can, and wait for that, at most ``seconds``."""
        thread = self._thread
        if thread is None:
            return
        try:
            self._hurry.release()
        except RuntimeError:
            pass  # somebody else waits too
        thread.join(seconds)

    def _run(self, hurry: threading.Lock) -> None:
        quiet, hurried = 0, False
        while True:
            hurried = hurry.acquire(timeout=_PAUSE) or hurried
            if self._wanted:
                quiet = 0
                self._do()
            quiet += 1
            with self._deciding:
                if not self._wanted and (hurried or quiet > _ROUNDS):
                    self._thread = None
                    return

    def _do(self) -> None:
        with self._working:
            self._wanted = False
            try:
                self._work()
            except (OSError, errors.KnarrError) as error:
                # What stays in the trash is deleted by the next who tidies up.
                _log.warning("emptying the trash: %s", error)


_tidiers: weakref.WeakSet[Tidier] = weakref.WeakSet()


def _before_fork() -> None:
    """Leave no idle thread: a process that forks should have one thread only."""
    for tidier in list(_tidiers):
        tidier.end_thread(_PAUSE)


def _after_fork_in_child() -> None:
    for tidier in list(_tidiers):
        tidier.start_anew()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)


@atexit.register
def _finish() -> None:
    """Do what is left at the end of the process."""
    for tidier in list(_tidiers):
        tidier.wait()
