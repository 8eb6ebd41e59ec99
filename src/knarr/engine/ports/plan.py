"""What a start wants of the host's ports: pure, in the order in which Docker allocates.

Exact ports before those that may be any, so that no random one takes what another needs; and
what differs in the host's address alone together, since it gets the same port of both families.
"""

from __future__ import annotations

import _socket
import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from knarr.engine.model import PROTOCOLS, HostPort
from knarr.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from knarr.engine.model import ContainerConfig

ANY4, ANY6 = "0.0.0.0", "::"
_LOOPBACK6 = "::1"


class Request(NamedTuple):
    """A port that is wanted; first and last as in ``HostPort``. ip: the container's address."""

    port: int
    protocol: str
    first: int
    last: int
    address: str
    ip: str

    @property
    def exact(self) -> bool:
        """Whether it is this port or none."""
        return 0 < self.first == self.last

    @property
    def same(self) -> tuple[int, str, int, int]:
        """What is equal of those that get the same port of the host."""
        return self.port, self.protocol, self.first, self.last


class Addresses(NamedTuple):
    """Addresses of a container at which it is published, empty where it has none.

    loopback6: whether what is sent to ::1 can be led there. host4, host6: the host's addresses
    for ports that name none, as the networks have them; empty for none of that family.
    """

    ipv4: str
    ipv6: str
    loopback6: bool = True
    host4: str = ANY4
    host6: str = ANY6


def exposed(config: ContainerConfig, image: Mapping[str, Any]) -> tuple[str, ...]:
    """Return all that a container exposes as ``80/tcp``. image: the ``config`` of its image."""
    said = (port.key for port in config.ports)
    return tuple(dict.fromkeys((*(image.get("ExposedPorts") or {}), *said, *config.expose)))


def wanted(config: ContainerConfig, image: Mapping[str, Any]) -> tuple[HostPort, ...]:
    """Return what is published: what was said, and with ``-P`` what is exposed beside it."""
    if not config.publish_all:
        return config.ports
    said = {port.key for port in config.ports}
    rest = (parsed(key) for key in exposed(config, image) if key not in said)
    return (*config.ports, *rest)


def parsed(key: str) -> HostPort:
    """Return ``80/tcp``, as images have it, at any port. Raises InvalidArgument."""
    number, _, protocol = key.partition("/")
    if not (number.isascii() and number.isdigit()):
        raise InvalidArgument(f'invalid port specification: "{key}"')
    return HostPort(int(number), protocol.lower() or "tcp")


def addresses(attachments: Iterable[Mapping[str, Any]]) -> Addresses | None:
    """Return where a container is published: its addresses on the networks of its default routes.

    None where that is no bridge.
    """
    found = {False: "", True: ""}  # whether it is IPv6 -> the address
    host = {False: ANY4, True: ANY6}
    for each in attachments:
        if each["driver"] != "bridge":
            continue
        for six in {":" in gateway for gateway in each["gateways"]}:
            own = (text.partition("/")[0] for text in each["addresses"] if (":" in text) is six)
            found[six] = next(own, "")
            host[six] = _host_address(each.get("binding") or ANY4, six=six)
    if not any(found.values()):
        return None
    return Addresses(found[False], found[True], host4=host[False], host6=host[True])


def _host_address(binding: str, *, six: bool) -> str:
    """Return where a network has its ports published: everywhere, or in one family alone."""
    if binding == ANY4:
        return ANY6 if six else ANY4
    return binding if (":" in binding) is six else ""


def groups(ports: Iterable[HostPort], at: Addresses) -> list[list[Request]]:
    """Return what is to be taken, those that get the same port together.

    Raises Unsupported for an address of the host of which nothing can lead to the container.
    """
    requests = [request for port in ports for request in _of_port(port, at)]
    requests.sort(key=_order)
    return [list(group) for _, group in itertools.groupby(requests, lambda each: each.same)]


def _of_port(port: HostPort, at: Addresses) -> list[Request]:
    pairs = [(at.host4, at.ipv4), (at.host6, at.ipv6)]
    if port.address:
        pairs = [(port.address, at.ipv6 if ":" in port.address else at.ipv4)]
    elif not (at.host4 and at.host6):  # the network has its ports at one address
        pairs = [pair for pair in pairs if pair[0]]
    if len(pairs) == 1:
        _check(port, pairs[0][0], at)
    return [
        Request(port.port, port.protocol, port.first, port.last, host, ip)
        for host, ip in pairs
        if host and ip
    ]


def _check(port: HostPort, host: str, at: Addresses) -> None:
    if host == _LOOPBACK6 and not at.loopback6:
        raise Unsupported(
            f"port {port.key}: cannot be published at {_LOOPBACK6} while "
            "net.bridge.bridge-nf-call-ip6tables is 1; use 127.0.0.1, or an address of the host"
        )
    family = "IPv6" if ":" in host else "IPv4"
    if not (at.ipv6 if family == "IPv6" else at.ipv4):
        raise Unsupported(
            f"port {port.key}: cannot be published at {host}: the container has no {family} address"
        )


def _order(request: Request) -> tuple[Any, ...]:
    six = ":" in request.address
    packed = _socket.inet_pton(_socket.AF_INET6 if six else _socket.AF_INET, request.address)
    protocol = PROTOCOLS.index(request.protocol)
    return (
        not request.exact, request.port, protocol, request.first, request.last, six, packed,
        request.ip,
    )  # fmt: skip
