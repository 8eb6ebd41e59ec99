"""Published ports: elements of the firewall's maps, two system calls for a container's.

The maps are part of the table that networks/firewall.py makes; a port is one element, and no
rule changes. A binding is ``{"proto": "tcp", "host_ip": "0.0.0.0", "host_port": 8080,
"ip": "172.17.0.2", "port": 80}``; host_ip ``0.0.0.0`` or ``::`` stands for every address.
"""

import _socket
import errno

from knarr.kernel import conntrack, nftables
from knarr.kernel.netlink import NetlinkError
from knarr.kernel.nftables import ADDRESS4, ADDRESS6, PORT, PROTOCOL, Nftables, Set, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Binding = Mapping[str, "str | int"]

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}

ANY4 = Set("any4", (PROTOCOL, PORT), (ADDRESS4, PORT))
ANY6 = Set("any6", (PROTOCOL, PORT), (ADDRESS6, PORT))
ONE4 = Set("one4", (ADDRESS4, PROTOCOL, PORT), (ADDRESS4, PORT))
ONE6 = Set("one6", (ADDRESS6, PROTOCOL, PORT), (ADDRESS6, PORT))
MAPS = (ANY4, ANY6, ONE4, ONE6)

_ATTEMPTS = 20  # of a change that rests on what was read, while others change other things


class _Port:
    """A binding as the kernel has it: map, key and value; and what tells its connections."""

    __slots__ = ("family", "host", "host_port", "key", "maps", "number", "target", "value")

    def __init__(self, binding: "Binding") -> None:
        self.maps, self.family = ANY4, _socket.AF_INET
        try:
            self.number = PROTOCOLS[str(binding["proto"])]
            address = str(binding["ip"])
            if ":" in address:
                self.maps, self.family = ANY6, _socket.AF_INET6
            self.target = _socket.inet_pton(self.family, address)
            self.host = _socket.inet_pton(self.family, str(binding["host_ip"]))
            self.host_port = int(binding["host_port"]).to_bytes(2, "big")
            port = int(binding["port"]).to_bytes(2, "big")
        except (KeyError, OverflowError, OSError):
            raise OSError(errno.EINVAL, f"publish {_shown(binding)}: not a port mapping") from None
        self.value = pack(self.target, port)
        parts = (bytes((self.number,)), self.host_port)
        if any(self.host):
            self.maps = ONE4 if self.maps is ANY4 else ONE6
            self.key = pack(self.host, *parts)
        else:
            self.host = b""
            self.key = pack(*parts)

    def element(self) -> bytes:
        return nftables.element(self.key, data=nftables.value(self.value))


def elements(bindings: "Iterable[Binding]") -> "dict[str, list[bytes]]":
    """Return name of a map -> elements that publish the bindings."""
    return _grouped(map(_Port, bindings))


def publish(table: str, bindings: "Sequence[Binding]") -> None:
    """Have connections to the host's ports go to the container's, all or none.

    What a container that died has left under the same host port is replaced.
    Raises OSError: ENOENT when the firewall's table is not there.
    """
    ports = [_Port(each) for each in bindings]
    if not ports:
        return
    with Nftables() as link:
        try:
            link.commit(_messages(nftables.add, table, ports))
        except NetlinkError as error:
            if error.errno in (errno.EEXIST, errno.EBUSY):
                _change(link, table, ports, again=True)
            else:
                raise OSError(
                    error.errno,
                    f"publish {_shown(bindings[0])}: table inet {table}: {error.strerror}",
                ) from None
        if conntrack.count():
            _forget_unserved(link, ports)


def unpublish(table: str, bindings: "Sequence[Binding]") -> None:
    """Take back what ``publish`` did, as far as it is there and not another container's."""
    ports = [_Port(each) for each in bindings]
    if not ports:
        return
    with Nftables() as link:
        _change(link, table, ports, again=False)
        if conntrack.count():
            _forget_served(link, ports)


def _change(link: Nftables, table: str, ports: "list[_Port]", *, again: bool) -> None:
    """Delete the elements of these ports, and make them again with the values they should have.

    Not again: only those are deleted that have their values.
    """
    for attempt in range(_ATTEMPTS):
        generation = link.generation()
        gone = []
        for port in ports:
            there = link.find(nftables.INET, table, port.maps.name, port.key)
            if there is not None and (again or there.value == port.value):
                gone.append(port)
        messages = _messages(nftables.delete, table, gone)
        if again:
            messages += _messages(nftables.add, table, ports)
        try:
            link.commit(messages, generation=generation)
        except NetlinkError as error:
            if error.errno != errno.ERESTART or attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def _messages(
    verb: "Callable[[int, str, str, list[bytes]], list[bytearray]]",
    table: str,
    ports: "list[_Port]",
) -> "list[bytearray]":
    found: list[bytearray] = []
    for name, chosen in _grouped(ports).items():
        found += verb(nftables.INET, table, name, chosen)
    return found


def _grouped(ports: "Iterable[_Port]") -> "dict[str, list[bytes]]":
    found: dict[str, list[bytes]] = {}
    for port in ports:
        found.setdefault(port.maps.name, []).append(port.element())
    return found


def _forget_unserved(link: Nftables, ports: "list[_Port]") -> None:
    """Delete what is known of datagrams that came while the port was not published.

    They were not translated, and would not be as long as their senders go on. A connection of
    TCP was refused; its next attempt is a new one.
    """
    for port in ports:
        if port.number != PROTOCOLS["udp"]:
            continue
        number = int.from_bytes(port.host_port, "big")
        for entry in conntrack.asked_for(link, port.family, port.number, number, port.host):
            if not entry.translated:
                entry.delete(link, port.family)


def _forget_served(link: Nftables, ports: "list[_Port]") -> None:
    """Delete the connections that were translated to these ports of the containers.

    Those of TCP too: where a container is killed the last packets may be lost, and a
    connection that nobody ends is kept for five days.
    """
    served: dict[bytes, set[tuple[int, int]]] = {}
    for port in ports:
        number = int.from_bytes(port.value[-4:-2], "big")
        served.setdefault(port.target, set()).add((port.number, number))
    for address, wanted in served.items():
        family = _socket.AF_INET6 if len(address) == 16 else _socket.AF_INET
        for entry in conntrack.ended_at(link, address, wanted):
            if entry.translated:
                entry.delete(link, family)


def _shown(binding: "Binding") -> str:
    host, port = binding.get("host_ip"), binding.get("host_port")
    name = f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return f"{name}:{binding.get('port')}/{binding.get('proto')}"
