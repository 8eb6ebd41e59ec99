"""One container that is served: its sockets, what it may ask for, and whom we ask for it."""

import _socket
import os
import select

from knarr.kernel.process import pidfd_open, start_time
from knarr.networks.resolver import message, places, upstream
from knarr.networks.resolver.clients import Listener
from knarr.networks.resolver.gate import Gate
from knarr.networks.resolver.names import shuffled
from knarr.runtime import resolving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from knarr.networks.resolver.gate import Opener
    from knarr.networks.resolver.loop import Loop
    from knarr.networks.resolver.names import Names, Network
    from knarr.networks.resolver.places import Places

# Datagrams of one container that are answered before it is others' turn.
_BURST = 32
# Answers of one container that are kept until something changes.
_KEPT = 4096


class Container:
    """A container's two sockets and what is answered there.

    told: what its maker said of it. ended: called with id and pid when its first process has ended.
    """

    __slots__ = (
        "_answers",
        "_asker",
        "_gate",
        "_listener",
        "_loop",
        "_names",
        "_networks",
        "_order",
        "_pidfd",
        "_seen",
        "_single",
        "_udp",
        "id",
        "life",
    )

    def __init__(
        self,
        told: "dict[str, Any]",
        sockets: "tuple[_socket.socket, _socket.socket]",
        *,
        loop: "Loop",
        names: "Names",
        places_: "Places",
        opener: "Opener",
        ended: "Callable[[str, int], None]",
    ) -> None:
        """Raises OSError, and KeyError, TypeError or ValueError for what makes no sense."""
        self.id = str(told["container"])
        self.life = (int(told["pid"]), int(told["pid_start"]))
        self._loop = loop
        self._names = names
        self._seen = -1
        self._networks: list[Network] = []
        self._answers: dict[bytes, list[bytes]] = {}
        self._udp, tcp = sockets
        for sock in sockets:
            sock.setblocking(False)
        namespace = places.namespace_of(self._udp)
        self._asker = upstream.Asker(loop, places_, namespace)
        self._gate: Gate | None = None
        try:
            if told.get("egress") is not None:
                self._gate = Gate(told["egress"], opener)
            self.update(told)
            self._pidfd = open_process(*self.life)
        except BaseException:
            os.close(namespace)
            raise
        loop.add(self._pidfd, lambda _: ended(self.id, self.life[0]))
        loop.add(self._udp.fileno(), self._datagrams)
        self._listener = Listener(loop, tcp, self._query)

    def update(self, told: "dict[str, Any]") -> None:
        """Take over other servers or networks. Raises as the class does."""
        self._asker.servers = upstream.servers(list(told.get("upstream") or ()))
        self._asker.internal = bool(told.get("internal"))
        self._order = [str(network) for network in told.get("networks") or ()]
        # Who sets ndots wants single names completed before they are asked for outside.
        self._single = told.get("ndots") is not None
        self._seen = -1

    def _datagrams(self, _: int) -> None:
        sock = self._udp
        for _turn in range(_BURST):
            try:
                packet, peer = sock.recvfrom(message.QUERY + 1)
            except OSError:
                return  # none waits
            try:
                query = message.parse(packet)
            except message.Malformed as error:
                if error.answer:
                    self._send(error.answer, peer)
                continue
            records = self._own(query)
            if records is None:
                self._ask_others(query, self._answering(peer))
            else:
                self._send(message.answer(query, records, query.size), peer)

    def _answering(self, peer: "Any") -> "Callable[[bytes], None]":
        return lambda reply: self._send(reply, peer)

    def _ask_others(
        self, query: message.Query, reply: "Callable[[bytes], None]", *, stream: bool = False
    ) -> None:
        gate = self._gate
        if gate is None:
            self._asker.forward(query, reply, stream=stream)
            return
        ports = gate.ports(query)
        if ports is None:
            reply(gate.blocked(query))
            return
        limit = message.LARGEST if stream else query.size

        def passed(answer: bytes) -> None:
            reply(gate.passed(query, answer, ports, limit))

        self._asker.forward(query, passed, stream=stream)

    def _send(self, packet: bytes, peer: "Any") -> None:
        try:
            self._udp.sendto(packet, peer)
        except OSError:
            return  # its buffer is full, or it has gone: it will ask again

    def _query(self, packet: bytes, reply: "Callable[[bytes], None]") -> None:
        """Answer what came by TCP."""
        try:
            query = message.parse(packet)
        except message.Malformed as error:
            reply(error.answer)
            return
        records = self._own(query)
        if records is None:
            self._ask_others(query, reply, stream=True)
        else:
            reply(message.answer(query, records, message.LARGEST))

    def _own(self, query: message.Query) -> "list[bytes] | None":
        """Return the records for a query, None for one that others have to answer."""
        if self._seen != self._names.changes:
            self._networks = self._names.of(self.id, self._order)
            self._answers.clear()
            self._seen = self._names.changes
        question = query.key + query.question[-4:]
        records = self._answers.get(question)
        if records is None:
            records = self._look_up(query)
            if records is not None and len(self._answers) < _KEPT:
                self._answers[question] = records
        return records if records is None or len(records) < 2 else shuffled(records)

    def _look_up(self, query: message.Query) -> "list[bytes] | None":
        if query.foreign:
            return None
        records = self._names.answer(self._networks, query)
        if records is None and self._single and query.kind in (message.A, message.AAAA):
            return [] if message.is_single(query.key) else None
        return records

    def open_again(self) -> None:
        """Have what its names have opened opened once more: the firewall's sets were made anew."""
        if self._gate is not None:
            self._gate.again()

    def close(self) -> None:
        """Serve it no more."""
        self._loop.remove(self._pidfd)
        os.close(self._pidfd)
        self._loop.remove(self._udp.fileno())
        self._udp.close()
        self._listener.close()
        self._asker.close()
        os.close(self._asker.namespace)


def open_process(pid: int, began: int) -> int:
    """Return a descriptor of the process that had this number at its start. ProcessLookupError."""
    pidfd = pidfd_open(pid)
    if select.select([pidfd], [], [], 0)[0] or start_time(pid) != began:
        os.close(pidfd)
        raise ProcessLookupError(3, "the container has ended")
    return pidfd


def again(
    run_root: str, told: "dict[str, Any]", places_: "Places"
) -> "tuple[_socket.socket, _socket.socket]":
    """Return new sockets in a running container's namespace, in place of some that are lost.

    Raises OSError: ProcessLookupError when it has ended.
    """
    pid, began = int(told["pid"]), int(told["pid_start"])
    port = int(told.get("port") or 0)
    pidfd = open_process(pid, began)
    try:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if start_time(pid) != began:
                raise ProcessLookupError(3, "the container has ended")
            udp, tcp, bound = places_.inside(namespace, lambda: resolving.open_here(port))
        finally:
            os.close(namespace)
    finally:
        os.close(pidfd)
    if bound != port:
        _note(resolving.sockets_file(run_root, str(told["container"])), {**told, "port": bound})
    return udp, tcp


def _note(path: str, told: "dict[str, Any]") -> None:
    """Note for the next resolver where the sockets are now."""
    try:
        resolving.write(path, told, again=True)
    except FileNotFoundError:
        return  # the container has ended
