"""The resolver at work: who is served, what it is told by files and by hand-overs, when it ends."""

import _socket
import json
import os
import sys
import time

from knarr._version import __version__
from knarr.networks.resolver import containers
from knarr.networks.resolver.containers import Container
from knarr.networks.resolver.folders import Folders
from knarr.networks.resolver.gate import Opener
from knarr.networks.resolver.loop import Loop
from knarr.networks.resolver.names import Endpoint, Names
from knarr.networks.resolver.places import Places
from knarr.runtime import packets, resolving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from knarr.networks.resolver.watch import Watch

_PACKET = 1 << 16
_SENSELESS = (OSError, KeyError, TypeError, ValueError)
_RESPITE = 1.0
_FIRST = 10.0  # seconds in which whoever had it started comes
# Exit codes, told to who began it: nothing is left to serve; one of another version takes over.
NOTHING_LEFT, REPLACED = 0, 3


class Server:
    """All that one resolver knows. idle: seconds with nothing to serve after which it ends."""

    def __init__(
        self,
        run_root: str,
        listener: "_socket.socket",
        idle: float,
        watches: "Sequence[Watch]" = (),
    ) -> None:
        self.run_root = run_root
        self.loop = Loop()
        self.names = Names()
        self.places = Places()
        self.containers: dict[str, Container] = {}
        self.links: dict[int, _socket.socket] = {}
        self.idle = idle
        self.awaits_until = time.monotonic() + _FIRST
        self.status = NOTHING_LEFT
        self.listener = listener
        self.folders = Folders(run_root, self._told)
        self.watches = watches
        self.opener = Opener()
        for watch in watches:
            watch.returned = self._open_again

    def serve(self) -> int:
        """Serve until nothing is left to serve; return the exit code."""
        self.listener.setblocking(False)
        self.loop.add(self.listener.fileno(), self._accept)
        for watch in self.watches:
            self.loop.add(watch.fileno(), watch.readable)
        self.folders.begin()
        self.loop.add(self.folders.fd, self.folders.readable)
        self._look_whether_needed()
        while self.loop.running:
            self.loop.turn()
        return self.status

    def _look_whether_needed(self, quiet: bool = False) -> None:
        """End when there was nothing to serve at two looks in a row."""
        # Names that nobody can ask for need nobody, unless rules are watched over for them.
        needed = (
            bool(self.containers or self.links)
            or time.monotonic() < self.awaits_until
            or (bool(self.watches) and self.names.any_lives())
        )
        if quiet and not needed:
            self.loop.running = False
            return
        self.loop.later(self.idle, lambda: self._look_whether_needed(not needed))

    def _told(self, folder: str, name: str, content: "dict[str, Any] | None") -> None:
        """Take note of a file that came, changed or went."""
        try:
            if folder == resolving.SOCKETS:
                self._sockets_told(name, content)
            elif content is None:
                self.names.drop(folder, name)
            else:
                self.names.put(folder, name, Endpoint(content))
        except _SENSELESS as error:
            print(f"knarr resolver: {folder}/{name}: {error!r}", file=sys.stderr)

    def _sockets_told(self, name: str, content: "dict[str, Any] | None") -> None:
        """A container's sockets come by themselves when it is made: here they are found again."""
        served = self.containers.get(name)
        if content is None:
            self._drop(name)
        elif served is None or served.life != (content["pid"], content["pid_start"]):
            self._find_again(name, content)
        else:
            served.update(content)

    def _find_again(self, name: str, content: "dict[str, Any]") -> None:
        try:
            sockets = containers.again(self.run_root, content, self.places)
        except ProcessLookupError:
            # It ended while nobody looked, and nobody has tidied up after it yet.
            self._ended(name, int(content["pid"]))
            return
        self._serve(content, sockets)

    def _serve(
        self, told: "dict[str, Any]", sockets: "tuple[_socket.socket, _socket.socket]"
    ) -> None:
        try:
            container = Container(
                told, sockets, loop=self.loop, names=self.names, places_=self.places,
                opener=self.opener, ended=self._ended,
            )  # fmt: skip
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        self._drop(container.id)
        self.containers[container.id] = container

    def _open_again(self) -> None:
        """The firewall's table was made anew; who made it does not know what names have opened."""
        for container in self.containers.values():
            container.open_again()

    def _drop(self, name: str) -> None:
        served = self.containers.pop(name, None)
        if served is not None:
            served.close()

    def _ended(self, name: str, pid: int) -> None:
        """A container's first process has ended: its names go now, whoever tidies up and when."""
        self._drop(name)
        self.names.forget(name, pid)

    def _accept(self, _: int) -> None:
        try:
            link = packets.accept(self.listener)
        except BlockingIOError:
            return
        except OSError:
            self.loop.remove(self.listener.fileno())
            self.loop.later(_RESPITE, lambda: self.loop.add(self.listener.fileno(), self._accept))
            return
        credentials = link.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        if int.from_bytes(credentials[4:8], sys.byteorder) not in (0, os.geteuid()):
            link.close()
            return
        self.awaits_until = 0.0
        link.setblocking(False)
        self.links[link.fileno()] = link
        self.loop.add(link.fileno(), lambda _: self._packet(link))

    def _packet(self, link: "_socket.socket") -> None:
        """Take a packet of a maker or of an engine, which holds us as long as it is connected."""
        try:
            packet, fds = packets.receive(link, _PACKET)
        except BlockingIOError:
            return
        except (EOFError, OSError):
            self._part(link)
            return
        try:
            self._request(link, json.loads(packet), fds)
        except _SENSELESS as error:
            print(f"knarr resolver: a packet is left out: {error!r}", file=sys.stderr)
            _refuse(link, error)
            self._part(link)
        finally:
            for fd in fds:
                os.close(fd)

    def _request(self, link: "_socket.socket", told: "dict[str, Any]", fds: "list[int]") -> None:
        """Carry out a request; descriptors that are kept are taken from the list."""
        if "hello" in told:
            answer = {"version": __version__, "pid": os.getpid()}
            link.send(json.dumps(answer).encode())
        elif "quit" in told:
            self.status = REPLACED
            self.loop.running = False
        else:
            udp, tcp = (_socket.socket(fileno=fd) for fd in fds)
            fds.clear()
            try:
                self._serve(told, (udp, tcp))
            except ProcessLookupError:
                pass  # its process goes on while we are asked, and has ended: there is no refusal
            link.send(b"{}")

    def _part(self, link: "_socket.socket") -> None:
        if self.links.pop(link.fileno(), None) is not None:
            self.loop.remove(link.fileno())
            link.close()

    def close(self) -> None:
        """Close everything but the listener, which is whose who began us."""
        for name in list(self.containers):
            self._drop(name)
        for link in list(self.links.values()):
            self._part(link)
        for watch in self.watches:
            self.loop.remove(watch.fileno())
            watch.close()
        self.folders.close()
        self.places.close()
        self.loop.close()


def _refuse(link: "_socket.socket", error: Exception) -> None:
    try:
        link.send(json.dumps({"error": str(error) or repr(error)}).encode())
    except OSError:
        return  # it has gone
