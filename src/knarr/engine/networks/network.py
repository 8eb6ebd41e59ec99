"""``Network``: one network of an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.engine import when
from knarr.engine.paths import Paths
from knarr.engine.state import merged
from knarr.networks import ipam
from knarr.networks.definition import Pool

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.networks.table import EndpointRow
    from knarr.engine.records import ContainerRecord
    from knarr.networks.definition import Definition

_MOST = (1 << 64) - 1


class Network:
    """A network as it was when it was looked up."""

    __slots__ = ("_engine", "definition")

    def __init__(self, engine: Engine, definition: Definition) -> None:
        self._engine = engine
        self.definition = definition

    @property
    def id(self) -> str:
        """The id, 64 hexadecimal digits."""
        return self.definition.id

    @property
    def name(self) -> str:
        """The name."""
        return self.definition.name

    @property
    def driver(self) -> str:
        """The driver's name."""
        return self.definition.driver

    @property
    def labels(self) -> dict[str, str]:
        """The labels."""
        return self.definition.labels

    @property
    def created(self) -> int:
        """When it was created, ns since the epoch."""
        return self.definition.created

    def remove(self) -> None:
        """Remove it. Raises NotFound, Forbidden while a container on it runs."""
        self._engine.networks.remove(self.id)

    def active(self) -> list[tuple[ContainerRecord, EndpointRow]]:
        """Return the containers that run on it, by name, with their endpoints."""
        found = []
        for row in self._engine.networks.table.endpoints(network=self.id):
            record = self._engine.table.get(row.container)
            if record is None:
                continue
            state = merged(record, Paths(self._engine.settings, record.id))
            if state.running:
                found.append((record, row))
        return sorted(found, key=lambda each: each[0].name)

    def inspect(self) -> dict[str, Any]:
        """Return all about it under Docker's names."""
        network = self.definition
        return {
            "Name": network.name,
            "Id": network.id,
            "Created": when.rfc3339(network.created),
            "Scope": "local",
            "Driver": network.driver,
            "EnableIPv4": network.ipv4,
            "EnableIPv6": network.ipv6,
            "IPAM": {
                "Driver": "default",
                "Options": None if network.predefined else {},
                "Config": [_pool(pool) for pool in network.pools] or None,
            },
            "Internal": network.internal,
            "Attachable": network.attachable,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Options": network.options,
            "Labels": network.labels,
            "Containers": {
                record.id: _endpoint(record, row, network) for record, row in self.active()
            },
            "Status": {"IPAM": {"Subnets": self._use()}},
        }

    def _use(self) -> dict[str, Any]:
        """Return how many addresses of each subnet are given, and how many are left."""
        held = self._engine.networks.table.held(self.id)
        found = {}
        for pool in self.definition.pools:
            low, high = ipam.usable(pool)
            ours = [each for each in held if each.version == pool.version]
            inside = sum(low <= int(each) <= high for each in ours)
            edges = pool.network.num_addresses - _usable_of(pool)
            found[pool.subnet] = {
                "IPsInUse": len(ours) + min(edges, 2),
                "DynamicIPsAvailable": min(high - low + 1 - inside, _MOST),
            }
        return found


def _usable_of(pool: Pool) -> int:
    whole = Pool(pool.subnet)
    low, high = ipam.usable(whole)
    return high - low + 1


def _pool(pool: Pool) -> dict[str, Any]:
    parts = {
        "Subnet": pool.subnet,
        "IPRange": pool.range,
        "Gateway": pool.gateway,
        "AuxiliaryAddresses": pool.auxiliary,
    }
    return {name: value for name, value in parts.items() if value}


def _endpoint(record: ContainerRecord, row: EndpointRow, network: Definition) -> dict[str, Any]:
    texts = {4: "", 6: ""}
    for address in row.addresses:
        pool = network.of_version(address.version)
        if pool is not None:
            texts[address.version] = f"{address}/{pool.prefix}"
    return {
        "Name": record.name,
        "EndpointID": row.id,
        "MacAddress": row.mac,
        "IPv4Address": texts[4],
        "IPv6Address": texts[6],
    }
