"""Namespaces of a test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from knarr.kernel.namespaces import CLONE_NEWUSER, unshare


@contextmanager
def user_namespace(first: int) -> Iterator[int]:
    """A descriptor of a user namespace whose ids 0 to 999 are first and above on the host."""
    ready_read, ready_write = os.pipe()
    end_read, end_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end_write)
        unshare(CLONE_NEWUSER)
        os.write(ready_write, b"1")
        os.read(end_read, 1)
        os._exit(0)
    try:
        os.close(end_read)
        os.read(ready_read, 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text(f"0 {first} 1000\n")
        fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
        try:
            yield fd
        finally:
            os.close(fd)
    finally:
        os.close(end_write)
        os.waitpid(pid, 0)
        os.close(ready_read)
        os.close(ready_write)
