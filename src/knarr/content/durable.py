"""A file that is complete gets its name, and keeps it whenever the power fails."""

from __future__ import annotations

import contextlib
import os
import secrets


def publish(fd: int, temporary: str, path: str) -> None:
    """Rename a complete file to where it is found, read-only, bytes and name on disk (OSError)."""
    os.fchmod(fd, 0o444)
    os.fsync(fd)
    os.rename(temporary, path)
    sync_directory(os.path.dirname(path))


def sync_directory(path: str) -> None:
    """Have the entries of a directory on disk (OSError)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace(path: str, data: bytes) -> None:
    """Have a file hold ``data``, whole or not at all, and its bytes on disk (OSError)."""
    temporary = f"{path}.{secrets.token_hex(4)}"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:  # also when the command is interrupted
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
