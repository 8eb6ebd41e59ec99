"""Ports of the host that are kept for a container: sockets that are bound, and nothing more.

What is sent to a published port is led to the container by netfilter and never gets to such a
socket. It is there so that nobody else gets the port, and so that a port that somebody has is
found out before anything is started: the kernel decides, between all that run on the host.

All sockets of a container are kept by one descriptor: they lie, as messages that nobody reads,
in a socket's queue, and are closed with it.
"""

import _socket
import array
import errno
import struct

from knarr.runtime import packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SCTP = 132  # IPPROTO_SCTP
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_SO_SNDBUFFORCE = 32
_KINDS = {
    "tcp": (_socket.SOCK_STREAM, _socket.IPPROTO_TCP),
    "udp": (_socket.SOCK_DGRAM, _socket.IPPROTO_UDP),
    "sctp": (_socket.SOCK_STREAM, _SCTP),
}
# Room in a queue for as many messages as all ports of three protocols and two families need.
_QUEUE = 4 << 20


def bind(protocol: str, address: str, port: int) -> "_socket.socket":
    """Return a socket that has the port, any free one for 0. Raises OSError.

    EADDRINUSE: somebody has it. EADDRNOTAVAIL: the host has no such address.
    """
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    kind, number = _KINDS[protocol]
    sock = _socket.socket(family, kind | _socket.SOCK_CLOEXEC, number)
    try:
        if family == _socket.AF_INET6:
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        if protocol == "udp":
            _drop_all(sock)  # else what is not led away would fill its buffer
        try:
            sock.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or protocol != "tcp":
                raise
            _take_over(sock, address, port)
    except BaseException:
        sock.close()
        raise
    return sock


def _take_over(sock: "_socket.socket", address: str, port: int) -> None:
    """Bind where nothing is left of a server but connections that wait for their time to pass.

    They hold the port for a minute (TIME_WAIT) against all who bind without SO_REUSEADDR. With
    it only who listens has a port for himself; what comes is dropped before it is a connection.
    """
    _drop_all(sock)
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(0)


def _drop_all(sock: "_socket.socket") -> None:
    """Have the kernel drop what arrives at a socket: a filter that keeps 0 bytes (socket(7))."""
    program = array.array("B", struct.pack("=HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K
    sock.setsockopt(
        _socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, program.buffer_info()[0])
    )


class Keeper:
    """Sockets on their way into one descriptor; ``close`` lets go of all of them."""

    __slots__ = ("_fresh", "_inner", "_outer")

    def __init__(self) -> None:
        self._outer, self._inner = packets.pair()
        self._outer.setsockopt(_socket.SOL_SOCKET, _SO_SNDBUFFORCE, _QUEUE)
        self._fresh: list[_socket.socket] = []

    def add(self, sock: "_socket.socket") -> None:
        """Take a socket over. Raises OSError."""
        self._fresh.append(sock)
        if len(self._fresh) == packets.MAX_FDS:
            self._put_away()

    def _put_away(self) -> None:
        fds = array.array("i", [sock.fileno() for sock in self._fresh])
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)]
        self._outer.sendmsg([b"p"], rights, _socket.MSG_DONTWAIT)
        for sock in self._fresh:
            sock.close()
        self._fresh.clear()

    def detach(self) -> int:
        """Return the descriptor that keeps all of them from now on. Raises OSError."""
        if self._fresh:
            self._put_away()
        self._outer.close()
        return self._inner.detach()

    def close(self) -> None:
        """Let go of what was taken and not detached."""
        for sock in self._fresh:
            sock.close()
        self._fresh.clear()
        self._outer.close()
        self._inner.close()


def keep_again(bindings: "list[dict[str, Any]]") -> "tuple[int, list[str]]":
    """Return a descriptor that keeps the ports of bindings, and what could not be had of them.

    For who comes after somebody who kept them and was killed. Raises OSError.
    """
    lost = []
    keeper = Keeper()
    try:
        for each in bindings:
            try:
                keeper.add(bind(each["proto"], each["host_ip"], each["host_port"]))
            except OSError as error:
                lost.append(f"{each['host_port']}/{each['proto']} at {each['host_ip']}: {error}")
        return keeper.detach(), lost
    except BaseException:
        keeper.close()
        raise
