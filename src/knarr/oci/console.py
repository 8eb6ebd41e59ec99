"""The console socket: where a caller gets the master of a container's terminal."""

import _socket
import struct

from knarr.oci.sockets import connect


class Console:
    """A connection to the caller's socket, made before anything else is."""

    __slots__ = ("_sock",)

    def __init__(self, path: str) -> None:
        self._sock = connect(path, "--console-socket")

    def send(self, master: int) -> None:
        """Send the master, named as Linux names one, and let go of it (unix(7), SCM_RIGHTS)."""
        rights = struct.pack("=i", master)
        self._sock.sendmsg([b"/dev/ptmx"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        self._sock.close()
