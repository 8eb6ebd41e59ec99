"""The processes of a group: listing, signalling, waiting for their end, and removal."""

import errno
import os
import select
import time

from knarr.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Freezer(Protocol):
        """The module ``freezer`` of v1 or v2."""

        def freeze(self, directory: str, timeout: float = 10.0, /) -> None:
            """Freeze a group; TimeoutError."""

        def thaw(self, directory: str, /) -> None:
            """Let it run again."""

        def frozen(self, directory: str, /) -> bool:
            """Return whether it was frozen."""


KILL_TIMEOUT = 10.0
SIGKILL = 9
# A group that is not there any more, or was removed while one of its files was open.
GONE = (errno.ENOENT, errno.ENODEV)
# One look at a v1 group costs 10 us; a dying process takes 0.1 to several ms.
PAUSE = 0.001


def tree(directory: str) -> list[str]:
    """Return a group's directory and all below it, parents first; empty when it is gone.

    The link count says without reading a directory of sixty files whether it has children.
    """
    try:
        if os.stat(directory).st_nlink <= 2:
            return [directory]
        with os.scandir(directory) as entries:
            names = [one.name for one in entries if one.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    found = [directory]
    for name in names:
        found += tree(f"{directory}/{name}")
    return found


def procs(directory: str) -> list[int]:
    """Return the process ids in a group and all below it (0 for one outside our pid namespace)."""
    found: list[int] = []
    for one in tree(directory):
        try:
            text = files.read(f"{one}/cgroup.procs")
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                continue  # a threaded group: its processes are listed in the domain above
            if error.errno not in GONE:
                raise
            continue
        found += map(int, text.split())
    return found


def signal_all(pids: list[int], signal: int) -> None:
    """Send a signal to each process; one that has ended meanwhile is no error."""
    for pid in pids:
        if pid <= 0:
            continue
        try:
            os.kill(pid, signal)
        except ProcessLookupError:
            continue


def freeze_briefly(freezer: "Freezer", directory: str) -> None:
    """Freeze a group; return when it stands still, after 50 ms, or when it is gone.

    For callers that look at the list of processes again.
    """
    try:
        freezer.freeze(directory, 0.05)
    except TimeoutError:
        return
    except OSError as error:
        if error.errno not in GONE:
            raise


def thaw_quietly(freezer: "Freezer", directory: str) -> None:
    """Let a group run again; that it is gone is no error."""
    try:
        freezer.thaw(directory)
    except OSError as error:
        if error.errno not in GONE:
            raise


def signal_group(freezer: "Freezer", directory: str, signal: int) -> None:
    """Send a signal to all processes of a group, which stands still meanwhile."""
    was_frozen = freezer.frozen(directory)
    if not was_frozen:
        freeze_briefly(freezer, directory)
    try:
        signal_all(procs(directory), signal)
    finally:
        if not was_frozen:
            thaw_quietly(freezer, directory)


def kill_until_empty(directory: str, freezer: "Freezer", frozen: list[str]) -> None:
    """Kill everything in a group and return when it is empty.

    Each round freezes the groups in ``frozen`` so that a fork bomb cannot outrun the list,
    kills and thaws, since a frozen process of v1 dies only then. Raises TimeoutError when
    processes still live after KILL_TIMEOUT (uninterruptible sleep).
    """
    deadline = time.monotonic() + KILL_TIMEOUT
    pids = procs(directory)
    while pids:
        for one in frozen:
            freeze_briefly(freezer, one)
        pids = procs(directory)
        signal_all(pids, SIGKILL)
        for one in frozen:
            for group in tree(one):
                thaw_quietly(freezer, group)
        for _ in range(10):
            if not (pids := procs(directory)):
                return
            time.sleep(PAUSE)
        if time.monotonic() > deadline:
            raise TimeoutError(
                errno.ETIMEDOUT, f"processes {pids[:5]} do not die after SIGKILL", directory
            )


def wait_event(directory: str, key: str, value: int, timeout: float) -> bool:
    """Wait until cgroup.events (v2) has key at value; return whether it came to that.

    The kernel announces a change of that file as POLLPRI, so nothing spins. A group
    that is gone counts as not populated.
    """
    try:
        fd = os.open(f"{directory}/cgroup.events", os.O_RDONLY)
    except OSError as error:
        if error.errno not in GONE:
            raise
        return key == "populated" and value == 0
    wanted = f"{key} {value}\n".encode()
    deadline = time.monotonic() + timeout
    try:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        while wanted not in os.pread(fd, 512, 0):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll.poll(left * 1000)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return key == "populated" and value == 0
    finally:
        os.close(fd)
    return True


def remove(directories: list[str], kill: "Callable[[], None]", timeout: float = 5.0) -> None:
    """Remove groups with everything below them; what is gone already is no error.

    The common case is one rmdir(2) for each. Only when the kernel says busy are leftover
    processes killed and groups that the container made removed from the bottom up.
    Raises OSError (EBUSY, TimeoutError) when something stays.
    """
    busy = [one for one in directories if not _rmdir(one)]
    if not busy:
        return
    kill()
    deadline = time.monotonic() + timeout
    while True:
        for directory in busy:
            for one in reversed(tree(directory)):
                _rmdir(one)
        busy = [one for one in busy if os.path.isdir(one)]
        if not busy:
            return
        if time.monotonic() > deadline:
            raise OSError(errno.EBUSY, f"still in use by {procs(busy[0])[:5]}", busy[0])
        # A process that is past its exit may hold the group for a moment longer.
        time.sleep(PAUSE)
        if any(procs(one) for one in busy):
            kill()


def _rmdir(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise
    return True


def poll_empty(directory: str, timeout: float) -> bool:
    """Wait at most timeout seconds until a v1 group has no process; return whether so.

    v1 announces nothing that one could wait for without a helper process of its own.
    """
    deadline = time.monotonic() + timeout
    while procs(directory):
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True
