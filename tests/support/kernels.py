"""What the running kernel can do, for tests whose expectation depends on it."""

from __future__ import annotations

import errno
import os

from knarr.kernel import mounts, process


def tells_exits() -> bool:
    """Return whether others than the parent learn how a process ended (Linux 6.15)."""
    pid = os.posix_spawn("/bin/false", ["false"], {})
    pidfd = os.pidfd_open(pid)
    os.waitpid(pid, 0)
    try:
        return process.pidfd_exit_status(pidfd) is not None
    finally:
        os.close(pidfd)


def changes_trees() -> bool:
    """Return whether attributes of a whole tree of mounts can be changed (Linux 5.12)."""
    try:
        mounts.mount_setattr(-1, attr_set=mounts.MOUNT_ATTR_RDONLY)
    except OSError as error:
        return error.errno != errno.ENOSYS
    return True
