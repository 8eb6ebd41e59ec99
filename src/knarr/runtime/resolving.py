"""The maker's half of name resolution: two sockets in the container's namespace, handed over.

Port 53 of 127.0.0.11 is the container's resolver, and is left to the container all the same: the
sockets have a port of their own, to which a rule of its namespace leads. So a program may bind
0.0.0.0:53, as with Docker.
"""

import _socket
import errno
import json
import os

from knarr.kernel.files import RENAME_EXCHANGE, renameat2
from knarr.kernel.mounts import AT_FDCWD
from knarr.kernel.namespaces import CLONE_NEWNET, setns
from knarr.runtime import nameport, packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOCKET = "resolver.sock"
ADDRESS = "127.0.0.11"
FOLDER = "networks"
SOCKETS = "by-container"
PATIENCE = 10.0  # seconds for the resolver's word
_TRIES = 16
_BUFFER = 1 << 19  # bytes of queries that wait
_AGAIN = (ConnectionRefusedError, FileNotFoundError, ConnectionResetError, BrokenPipeError)


def serve(run_root: str, namespace: int, packet: "dict[str, Any]") -> None:
    """Have a container's names answered: the maker's whole half, in a thread of its own fate.

    namespace: descriptor of the container's network namespace, in which the caller finds itself
    afterwards. packet: ``container``, ``pid``, ``pid_start``, ``networks``, ``upstream``,
    ``internal``, ``ndots`` as in docs/design/resolver.md. Raises OSError, with nothing left behind.
    """
    offer(run_root, namespace, packet).confirm()


def offer(run_root: str, namespace: int, packet: "dict[str, Any]") -> "Offer":
    """Do as ``serve``, but wait for the resolver's word later, when that has to be there."""
    setns(namespace, CLONE_NEWNET)
    udp, tcp, port = open_here(fresh=True)
    return Offer(run_root, packet, udp, tcp, port)


class Offer:
    """A container's sockets on their way to the resolver."""

    __slots__ = ("_link", "_packet", "_port", "_run_root", "_tcp", "_udp")

    def __init__(
        self,
        run_root: str,
        packet: "dict[str, Any]",
        udp: "_socket.socket",
        tcp: "_socket.socket",
        port: int,
    ) -> None:
        self._run_root = run_root
        self._packet = packet
        self._udp, self._tcp, self._port = udp, tcp, port
        self._link: _socket.socket | None = None
        try:
            self._link = _sent(run_root, json.dumps(packet).encode(), self._fds())
        except _AGAIN:
            return  # a resolver that is about to be there is asked once its word is needed
        except BaseException:
            udp.close()
            tcp.close()
            raise

    def _fds(self) -> "list[int]":
        return [self._udp.fileno(), self._tcp.fileno()]

    def confirm(self) -> None:
        """Return when the resolver has them. Raises OSError, with nothing left behind."""
        try:
            hand_over(self._run_root, self._packet, self._fds(), self._link)
        finally:
            self._udp.close()
            self._tcp.close()
        # Only now: a resolver that reads of sockets which it does not have makes them anew.
        path = sockets_file(self._run_root, self._packet["container"])
        write(path, {**self._packet, "port": self._port})


def open_here(
    port: int = 0, *, fresh: bool = False
) -> "tuple[_socket.socket, _socket.socket, int]":
    """Return a UDP and a listening TCP socket of one port, in the namespace of this thread.

    port: the one to have, if it is free, since rules lead to it already. fresh: no resolver's
    rules are there yet; to replace some takes 10 ms, to make some a fortieth of that.
    Raises OSError.
    """
    for _ in range(_TRIES):
        udp = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        tcp = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            tcp.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            udp.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, _BUFFER)
            udp.bind((ADDRESS, port))
            bound: int = udp.getsockname()[1]
            tcp.bind((ADDRESS, bound))
            tcp.listen(128)
            if bound != port:
                nameport.install(bound, bound, fresh=fresh)
        except OSError as error:
            udp.close()
            tcp.close()
            if error.errno != errno.EADDRINUSE:
                raise
            port = 0  # a program of the container has it
        else:
            return udp, tcp, bound
    raise OSError(errno.EADDRINUSE, f"no free port of {ADDRESS} for the resolver")


def hand_over(
    run_root: str,
    packet: "dict[str, Any]",
    fds: "list[int]",
    link: "_socket.socket | None" = None,
) -> None:
    """Give a container's sockets to the resolver and return when it has them.

    fds: UDP, TCP. link: where they were sent already. One that dies meanwhile has a successor,
    which is given them instead. Raises OSError when there is no resolver, or when it refuses them.
    """
    body = json.dumps(packet).encode()
    for left in range(_TRIES, -1, -1):
        try:
            answer = _word(link or _sent(run_root, body, fds))
        except _AGAIN:
            if not left:
                raise
        except EOFError:
            pass
        else:
            if answer.get("error"):
                text = f"the resolver refuses the sockets: {answer['error']}"
                raise OSError(errno.EINVAL, text)
            return
        link = None
    raise OSError(errno.ECONNREFUSED, "the resolver does not answer")


def _sent(run_root: str, body: bytes, fds: "list[int]") -> "_socket.socket":
    link = packets.connect(run_root, SOCKET)
    try:
        link.settimeout(PATIENCE)
        packets.send(link, body, fds)
    except BaseException:
        link.close()
        raise
    return link


def _word(link: "_socket.socket") -> "dict[str, Any]":
    try:
        answer: dict[str, Any] = json.loads(packets.receive(link, packets.LIMIT)[0])
        return answer
    finally:
        link.close()


def sockets_file(run_root: str, container: str) -> str:
    """Return the path of the file that says where a container's sockets are."""
    return f"{run_root}/{FOLDER}/{SOCKETS}/{container}"


def endpoint_file(run_root: str, network: str, container: str) -> str:
    """Return the path of the file of a container's endpoint in a network."""
    return f"{run_root}/{FOLDER}/{network}/{container}"


def write(path: str, content: "dict[str, Any]", *, again: bool = False) -> None:
    """Put a file in its place, whole, for the resolver to read. Raises OSError.

    again: only where it is still there, else FileNotFoundError: it may be taken away meanwhile.
    """
    folder, _, name = path.rpartition("/")
    os.makedirs(folder, 0o700, exist_ok=True)
    fresh = f"{folder}/.{name}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(fresh, flags, 0o600)
    try:
        os.write(fd, json.dumps(content, separators=(",", ":")).encode())
    finally:
        os.close(fd)
    if not again:
        os.rename(fresh, path)
        return
    try:
        renameat2(AT_FDCWD, fresh, AT_FDCWD, path, RENAME_EXCHANGE)
    finally:
        os.unlink(fresh)
