"""Sockets of callers to which something is sent once."""

import _socket
import os

from knarr.errors import InvalidArgument

_SUN_PATH = 100  # bytes that a socket's address holds for sure


def connect(path: str, what: str) -> "_socket.socket":
    """Return a stream connected to a socket's path. Raises InvalidArgument that says for what."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        if len(os.fsencode(path)) < _SUN_PATH:
            sock.connect(path)
            return sock
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
    except OSError as error:
        sock.close()
        raise InvalidArgument(f"{what} {path}: {error.strerror}") from error
    return sock
