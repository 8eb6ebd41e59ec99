"""Which processes there are, and what they are called (proc(5), unix(7))."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from knarr.config import Settings


def children(pid: int) -> list[int]:
    """Return the children of a process, none of one that has ended."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def name(pid: int) -> str:
    """Return the name of a process, nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    except OSError:
        return ""


def listener(path: str) -> int:
    """Return the pid of who listens on a unix socket, 0 when it has just ended. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.connect(path)
        peer = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid: int
    pid, _, _ = struct.unpack("3i", peer)
    return pid


def launcher(settings: Settings) -> int:
    """Return the pid of the launcher of a run root. Raises OSError when there is none."""
    return listener(f"{settings.run_root}/launcher.sock")


def refused(act: Callable[[], object]) -> str:
    """Do something in a child, which may change itself first; return number and text of the error.

    Nothing when no OSError was raised.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            act()
        except OSError as error:
            os.write(write, f"{error.errno} {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said
