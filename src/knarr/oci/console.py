"""The console socket: where a caller gets the master of a container's terminal."""

import _socket
import array
import os

from knarr.errors import InvalidArgument

_SUN_PATH = 100  # bytes that a socket's address holds for sure


class Console:
    """A connection to the caller's socket, made before anything else is."""

    __slots__ = ("_sock",)

    def __init__(self, path: str) -> None:
        self._sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            if len(os.fsencode(path)) < _SUN_PATH:
                self._sock.connect(path)
                return
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                self._sock.connect(f"/proc/self/fd/{fd}")
            finally:
                os.close(fd)
        except OSError as error:
            self._sock.close()
            raise InvalidArgument(f"--console-socket {path}: {error.strerror}") from error

    def send(self, master: int) -> None:
        """Send the master, named as Linux names one, and let go of it (unix(7), SCM_RIGHTS)."""
        rights = array.array("i", [master])
        self._sock.sendmsg([b"/dev/ptmx"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        self._sock.close()
