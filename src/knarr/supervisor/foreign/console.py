"""A console socket: where another runtime sends the master of a container's terminal."""

import _socket
import array
import os
import stat

from knarr.runtime import packets
from knarr.runtime.errors import RuntimeFailure

_LIMIT = 4096


class Console:
    """A listening socket in a run directory; path: for the runtime, short enough for any."""

    __slots__ = ("_directory", "_name", "_run_dir", "_sock", "path")

    def __init__(self, run_dir: str, name: str) -> None:
        self._run_dir, self._name = run_dir, name
        self._directory = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        packets.remove_file(run_dir, name)
        kind = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
        self._sock = _socket.socket(_socket.AF_UNIX, kind, 0)
        self._sock.bind(f"/proc/self/fd/{self._directory}/{name}")
        self._sock.listen(1)
        self.path = f"/proc/{os.getpid()}/fd/{self._directory}/{name}"

    def master(self) -> int:
        """Return the terminal's master, which has been sent. Raises RuntimeFailure if it has not.

        The runtime has ended, so what it was to send is there.
        """
        try:
            connection = packets.accept(self._sock)
        except OSError:
            raise _nothing() from None
        connection.setblocking(False)
        try:
            _, ancillary, _, _ = connection.recvmsg(
                _LIMIT, _socket.CMSG_SPACE(64), _socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            ancillary = []
        finally:
            connection.close()
        fds = array.array("i")
        for _, kind, data in ancillary:
            if kind == _socket.SCM_RIGHTS:
                fds.frombytes(data[: len(data) - len(data) % 4])
        if len(fds) != 1 or not _is_terminal(fds[0]):
            for fd in fds:
                os.close(fd)
            raise _nothing()
        return fds[0]

    def close(self) -> None:
        """Let go of it."""
        self._sock.close()
        os.close(self._directory)
        packets.remove_file(self._run_dir, self._name)


def _is_terminal(fd: int) -> bool:
    return stat.S_ISCHR(os.fstat(fd).st_mode) and os.isatty(fd)


def _nothing() -> RuntimeFailure:
    return RuntimeFailure("error", "runtime", "OCI runtime: it did not send a terminal")
