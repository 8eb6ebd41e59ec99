"""Which name has which addresses in which network, and what that answers.

It is fed with endpoints, the JSON of ``RUN_ROOT/networks/NETWORK/CONTAINER``, and has the records
of answers ready. As Docker does it, a name counts in the networks that the asker is in and
nowhere else; the first of them that knows it decides; ``web.front`` is ``web`` in the network
``front``; ``web`` without an address of the asked kind is an empty answer, not an unknown name.
"""

import _random

from knarr.kernel.links import packed
from knarr.kernel.process import start_time
from knarr.networks.resolver import message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

_KINDS = {4: message.A, 16: message.AAAA}
_NAMES = 64  # of one endpoint
_ADDRESSES = 16
# How often a name may be found in a network, times 16 bytes of a record each: what fits a message.
_MANY = 2048

_chance = _random.Random()


class Endpoint:
    """A container in a network: keys of its names, packed addresses, and how it is called.

    network: the name of the network, if names can be qualified with it. pid: of the container's
    first process in this life, 0 when that is not told.
    """

    __slots__ = ("addresses", "called", "keys", "network", "pid")

    def __init__(self, told: "dict[str, Any]") -> None:
        """Raises TypeError, ValueError, OSError, KeyError for what is no endpoint."""
        names = [str(name) for name in told["names"][:_NAMES]]
        if told.get("short"):
            names.append(str(told["short"]))
        self.network = str(told.get("network") or "")
        self.pid = int(told.get("pid") or 0)
        self.keys = tuple(dict.fromkeys(key for name in names if (key := message.wire(name))))
        self.called = message.wire(f"{told['name']}.{self.network}")
        self.addresses = tuple(pack(address) for address in told["addresses"][:_ADDRESSES])


def pack(address: object) -> bytes:
    """Return the bytes of an address; a prefix length behind it is of no interest. OSError."""
    return packed(str(address).partition("/")[0])[1]


class Network:
    """The names of one network."""

    __slots__ = ("_names", "_qualified", "_reverse", "endpoints")

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self._names: dict[bytes, dict[str, Endpoint]] = {}
        self._qualified: dict[bytes, dict[str, Endpoint]] = {}
        self._reverse: dict[bytes, Endpoint] = {}

    def put(self, container: str, endpoint: Endpoint) -> None:
        """Add an endpoint, or replace the container's."""
        self.drop(container)
        self.endpoints[container] = endpoint
        for table, key in self._places(endpoint):
            table.setdefault(key, {})[container] = endpoint
        if endpoint.keys and endpoint.called:
            for address in endpoint.addresses:
                self._reverse[message.reverse(address)] = endpoint

    def drop(self, container: str) -> None:
        """Take a container's endpoint away, if there is one."""
        endpoint = self.endpoints.pop(container, None)
        if endpoint is None:
            return
        for table, key in self._places(endpoint):
            who = table[key]
            del who[container]
            if not who:
                del table[key]
        for address in endpoint.addresses:
            key = message.reverse(address)
            if self._reverse.get(key) is endpoint:
                del self._reverse[key]

    def _places(
        self, endpoint: Endpoint
    ) -> "Iterator[tuple[dict[bytes, dict[str, Endpoint]], bytes]]":
        suffix = message.wire(endpoint.network) if endpoint.network else None
        for key in endpoint.keys:
            yield self._names, key
            if suffix is not None and len(key) - 1 + len(suffix) <= 255:
                yield self._qualified, key[:-1] + suffix

    def find(self, key: bytes, *, qualified: bool) -> "Iterable[Endpoint] | None":
        """Return the endpoints of a name, None when there are none."""
        who = (self._qualified if qualified else self._names).get(key)
        return None if who is None else who.values()

    def called(self, key: bytes) -> "bytes | None":
        """Return the name of an address that is looked up in reverse."""
        endpoint = self._reverse.get(key)
        return None if endpoint is None else endpoint.called


class Names:
    """All networks. ``answer`` is what the server asks for each query."""

    __slots__ = ("changes", "networks")

    def __init__(self) -> None:
        self.networks: dict[str, Network] = {}
        self.changes = 0  # so many: what was looked up before may be no longer true

    def put(self, network: str, container: str, endpoint: Endpoint) -> None:
        """Add an endpoint, or replace the container's in that network."""
        self.networks.setdefault(network, Network()).put(container, endpoint)
        self.changes += 1

    def drop(self, network: str, container: str) -> None:
        """Take an endpoint away, if there is one."""
        found = self.networks.get(network)
        if found is not None:
            self.changes += 1
            found.drop(container)
            if not found.endpoints:
                del self.networks[network]

    def forget(self, container: str, pid: int) -> None:
        """Take away all endpoints of one life of a container."""
        for name, network in list(self.networks.items()):
            endpoint = network.endpoints.get(container)
            if endpoint is not None and endpoint.pid in (0, pid):
                self.drop(name, container)

    def any_lives(self) -> bool:
        """Tell whether a container runs that is on a network, be it without names."""
        return any(
            endpoint.pid == 0 or start_time(endpoint.pid) is not None
            for network in self.networks.values()
            for endpoint in network.endpoints.values()
        )

    def of(self, container: str, order: "Iterable[str]" = ()) -> "list[Network]":
        """Return the networks that a container is in; those named in ``order`` come first."""
        first = [name for name in order if name in self.networks]
        rest = sorted(name for name in self.networks if name not in first)
        found = (self.networks[name] for name in (*first, *rest))
        return [network for network in found if container in network.endpoints]

    def answer(self, networks: "list[Network]", query: message.Query) -> "list[bytes] | None":
        """Return the records for a query, none for a name without any, None for a foreign name."""
        if query.kind == message.PTR:
            for network in networks:
                called = network.called(query.key)
                if called is not None:
                    return [message.record(message.PTR, called)]
        for qualified in (False, True):
            for network in networks:
                found = network.find(query.key, qualified=qualified)
                if found is not None:
                    return _records(found, query.kind)
        return None


def _records(found: "Iterable[Endpoint]", kind: int) -> "list[bytes]":
    """Return records of the asked kind, each address once."""
    addresses = dict.fromkeys(
        address
        for endpoint in found
        for address in endpoint.addresses
        if kind in (_KINDS[len(address)], message.ANY)
    )
    return [message.record(_KINDS[len(address)], address) for address in addresses][:_MANY]


def shuffled(values: "list[bytes]") -> "list[bytes]":
    """Return a list in random order (Fisher and Yates); ``random`` itself is dear to import."""
    values = values.copy()
    for last in range(len(values) - 1, 0, -1):
        other = int(_chance.random() * (last + 1))
        values[last], values[other] = values[other], values[last]
    return values
