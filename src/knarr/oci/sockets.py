"""Sockets of callers to which something is sent once."""

import _socket
import os
import struct

from knarr.errors import InvalidArgument

_SUN_PATH = 100  # bytes that a socket's address holds for sure


class Receiver:
    """A connection to who asked for a descriptor, made before anything else is. flag: by which."""

    __slots__ = ("_flag", "_sock")

    def __init__(self, path: str, flag: str) -> None:
        self._flag = flag
        self._sock = connect(path, flag)

    def send(self, message: bytes, fd: int) -> None:
        """Send a descriptor, and end the connection (unix(7), SCM_RIGHTS).

        A process that waits at its gate has a copy of this end, so closing it here would not be
        its end. Raises InvalidArgument when nobody takes it.
        """
        rights = struct.pack("=i", fd)
        try:
            self._sock.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
            self._sock.shutdown(_socket.SHUT_RDWR)
        except OSError as error:
            raise InvalidArgument(f"{self._flag}: {error.strerror}") from error
        finally:
            self._sock.close()


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
