"""Where things of one container are kept; the only place that spells these paths."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine.translate import NEEDS_ROOT

if TYPE_CHECKING:
    from knarr.config import Settings


class Paths:
    """Files of one container: what survives a reboot below ``data``, the rest below ``run``."""

    __slots__ = ("data", "id", "run", "run_root")

    def __init__(self, settings: Settings, container_id: str) -> None:
        self.id = container_id
        self.run_root = settings.run_root
        self.data = f"{settings.data_root}/containers/{container_id}"
        self.run = f"{settings.run_root}/containers/{container_id}"

    @property
    def spec(self) -> str:
        """The OCI spec, written last at create: its presence means the container is complete."""
        return f"{self.data}/spec.json"

    @property
    def log(self) -> str:
        """The log of stdout and stderr, in ``supervisor.log`` records."""
        return f"{self.data}/log"

    @property
    def json_log(self) -> str:
        """The file of the driver ``json-file``, under Docker's name."""
        return f"{self.data}/{self.id}-json.log"

    @property
    def filter(self) -> str:
        """The compiled seccomp filter; absent when the container runs without one."""
        return f"{self.data}/seccomp.bpf"

    @property
    def state(self) -> str:
        """What the supervisor says of the container, replaced by rename."""
        return f"{self.run}/state.json"

    @property
    def paused(self) -> str:
        """There while the container is paused; written before it is frozen.

        Not empty when somebody copies it meanwhile, who holds a lock on the file.
        """
        return f"{self.run}/paused"

    @property
    def exit(self) -> str:
        """How the container ended last, in the form of the state file; survives a reboot."""
        return f"{self.data}/exit.json"

    @property
    def exit_before(self) -> str:
        """Where that is kept while the container is being started again."""
        return f"{self.exit}.before"

    @property
    def attach(self) -> str:
        """The supervisor's socket for stdio, signals and the exit status."""
        return f"{self.run}/attach.sock"

    @property
    def supervisor_lock(self) -> str:
        """A file the supervisor holds locked while it lives."""
        return f"{self.run}/lock"

    @property
    def files(self) -> dict[str, str]:
        """The files that every container gets of its own: path inside -> path here."""
        return {
            f"/etc/{name}": f"{self.data}/{name}" for name in ("hosts", "hostname", "resolv.conf")
        }

    def supervisor_lives(self) -> bool:
        """Return True while a supervisor holds its lock."""
        try:
            lock = os.open(self.supervisor_lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the operation lock: create, start, remove and recover exclude each other.

        Waits for another holder. The lock is a file below ``run_root/locks``,
        removed again by whoever holds it; a waiter notices and starts over.
        """
        handle = self._lock(fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(handle)

    @contextmanager
    def try_locked(self) -> Iterator[bool]:
        """As :meth:`locked`, but yield False at once when somebody else holds the lock."""
        try:
            handle = self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            os.close(handle)

    def forget_lock(self) -> None:
        """Remove the lock file; the caller holds the lock and the container is gone."""
        try:
            os.unlink(self._lock_path)
        except FileNotFoundError:
            return

    @property
    def _lock_path(self) -> str:
        return f"{self.run_root}/locks/{self.id}"

    def _lock(self, how: int) -> int:
        while True:
            handle = self._open_lock()
            try:
                fcntl.flock(handle, how)
                if _is_at(handle, self._lock_path):
                    return handle
            except BaseException:  # also a signal's: the wait for a lock is where one comes
                os.close(handle)
                raise
            os.close(handle)

    def _open_lock(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self._lock_path, flags, 0o600)
        except FileNotFoundError:
            prepare_run_root(self.run_root)
            return os.open(self._lock_path, flags, 0o600)


def prepare_run_root(run_root: str) -> None:
    """Create the run root (0700) and its folders.

    Raises Conflict when others could enter it, Forbidden when it is root's and this is not root.
    """
    os.makedirs(run_root, mode=0o700, exist_ok=True)
    info = os.stat(run_root)
    if info.st_uid == 0 != os.geteuid():
        raise errors.Forbidden(f"run root {run_root}: belongs to root ({NEEDS_ROOT})")
    if info.st_uid != os.geteuid() or info.st_mode & 0o022:
        raise errors.Conflict(
            f"run root {run_root}: must belong to this user and be writable for nobody else"
        )
    for name in ("containers", "locks"):
        os.makedirs(f"{run_root}/{name}", mode=0o700, exist_ok=True)


def write_synced(path: str, body: bytes) -> None:
    """Replace a file, so that it is whole and there after a power loss. Raises OSError."""
    temporary = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)


def _is_at(handle: int, path: str) -> bool:
    """Return True when the open file is still the one at that path."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(handle)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
