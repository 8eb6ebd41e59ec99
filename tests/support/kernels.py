"""What the running kernel can do, for tests whose expectation depends on it."""

from __future__ import annotations

import os

from knarr.kernel import process


def tells_exits() -> bool:
    """Return whether others than the parent learn how a process ended (Linux 6.15)."""
    pid = os.posix_spawn("/bin/false", ["false"], {})
    pidfd = os.pidfd_open(pid)
    os.waitpid(pid, 0)
    try:
        return process.pidfd_exit_status(pidfd) is not None
    finally:
        os.close(pidfd)
