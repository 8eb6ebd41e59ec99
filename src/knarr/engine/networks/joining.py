"""What a container's endpoints are: the networks it is to be on, its addresses and names there.

Everything is decided here and recorded; ``attachments`` are the values that the container's
maker carries out.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from knarr.engine import egress, events
from knarr.engine.endpointconfig import EndpointConfig
from knarr.engine.networks import endpointrules
from knarr.engine.networks.table import EndpointRow, new_id
from knarr.engine.paths import Paths
from knarr.engine.state import merged
from knarr.errors import (
    Conflict,
    InvalidArgument,
    KnarrError,
    NotFound,
    ResourceExhausted,
    Unsupported,
)
from knarr.networks import driver as drivers
from knarr.networks import egress as marks
from knarr.networks import ipam, naming, options
from knarr.networks.driver import Endpoint

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.engine.records import ContainerRecord
    from knarr.networks.definition import Address, Definition, Pool

SHARED = (
    "container sharing network namespace with another container or host cannot be connected "
    "to any other network"
)
IFNAME = "com.docker.network.endpoint.ifname"
_FAILED = "failed to set up container networking"


@dataclass(frozen=True, slots=True)
class Place:
    """A network that a container is to be on, and how."""

    network: Definition
    config: EndpointConfig


def wanted(config: ContainerConfig) -> tuple[EndpointConfig, ...]:
    """Return what a container is to be joined to: nothing where the network is another's."""
    if config.endpoints is not None:
        return config.endpoints
    mode = config.network or "none"
    return () if mode.startswith("container:") else (EndpointConfig(mode),)


def places(engine: Engine, record: ContainerRecord) -> list[Place]:
    """Return the networks that a container is to be on, each once, in the order as given.

    Raises NotFound for one that there is not, InvalidArgument for what cannot go together.
    """
    found: dict[str, Place] = {}
    for config in wanted(record.config):
        try:
            network = engine.networks.find(config.network)
        except NotFound as error:
            raise NotFound(f"{_FAILED}: {error}") from None
        if network.id in found:
            raise InvalidArgument(f"network {config.network} is specified multiple times")
        try:
            endpointrules.check(network, config)
        except InvalidArgument as error:
            raise InvalidArgument(f"{_FAILED}: {error}") from None
        found[network.id] = Place(network, config)
    networks = [place.network for place in found.values()]
    require_together(networks)
    egress.check_networks(record.config, networks)
    return list(found.values())


def check_together(engine: Engine, configs: Iterable[EndpointConfig]) -> None:
    """Raise InvalidArgument when a container cannot be on all of these networks that there are."""
    found = []
    for config in configs:
        with contextlib.suppress(NotFound):
            found.append(engine.networks.find(config.network))
    require_together(found)


def require_together(networks: Sequence[Definition]) -> None:
    """Raise InvalidArgument when a container cannot be on all of these networks."""
    if len(networks) < 2:
        return
    if any(network.driver == "host" for network in networks):
        raise InvalidArgument(SHARED)
    if not all(drivers.find(network.driver).addressed for network in networks):
        raise InvalidArgument(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode"
        )


def joined(engine: Engine, record: ContainerRecord, chosen: list[Place]) -> list[EndpointRow]:
    """Return the container's endpoints, with addresses, in these networks; allocate what misses.

    Raises Conflict for an address that another container has, ResourceExhausted when all are
    taken, NotFound when the network has just been removed.
    """
    table = engine.networks.table
    there = {row.network: row for row in table.endpoints(container=record.id)}
    if not all(_is_settled(place, there.get(place.network.id)) for place in chosen):
        with table.write() as db:
            for place in chosen:
                if drivers.find(place.network.driver).addressed:
                    try:
                        _Allocation(engine, db, record, place).settle()
                    except KnarrError as error:
                        raise type(error)(f"{_FAILED}: {error}") from None
        there = {row.network: row for row in table.endpoints(container=record.id)}
    return [there[place.network.id] for place in chosen if place.network.id in there]


def _is_settled(place: Place, row: EndpointRow | None) -> bool:
    """Return whether an endpoint has the addresses that it should have."""
    if not drivers.find(place.network.driver).addressed:
        return True
    if row is None or (place.config.mac or row.mac) != row.mac:
        return False
    asked = [ip_address(text) for text in (place.config.ip, place.config.ip6) if text]
    versions = {pool.version for pool in place.network.pools}
    return versions == {each.version for each in row.addresses} and all(
        each in row.addresses for each in asked
    )


class _Allocation:
    """The addresses of one endpoint, inside a write transaction."""

    def __init__(
        self, engine: Engine, db: sqlite3.Connection, record: ContainerRecord, place: Place
    ) -> None:
        self._engine = engine
        self._db = db
        self._record = record
        self._network = place.network
        self._config = place.config

    def settle(self) -> None:
        """Write endpoint and addresses. Raises as :func:`joined`."""
        key = (self._record.id, self._network.id)
        self._db.execute(
            "INSERT OR IGNORE INTO endpoints (container, network, id, mac) "
            "SELECT ?, id, ?, '' FROM networks WHERE id = ? AND state = 'ready'",
            (self._record.id, new_id(), self._network.id),
        )
        if not self._db.execute(
            "SELECT 1 FROM endpoints WHERE container = ? AND network = ?", key
        ).fetchone():
            raise NotFound(f"network {self._network.name} not found")
        addresses = [self._address(pool) for pool in self._network.pools]
        own = drivers.find(self._network.driver).ethernet
        mac = (self._config.mac or ipam.mac_of(addresses)) if own else ""
        self._db.execute(
            "UPDATE endpoints SET mac = ? WHERE container = ? AND network = ?", (mac, *key)
        )

    def _address(self, pool: Pool) -> Address:
        text = self._config.ip if pool.version == 4 else self._config.ip6
        size = 4 if pool.version == 4 else 16
        fixed = None if text is None else ip_address(text)
        held = self._db.execute(
            "SELECT address FROM addresses WHERE container = ? AND network = ? "
            "AND length(address) = ?",
            (self._record.id, self._network.id, size),
        ).fetchone()
        if held is not None:
            before: Address = ip_address(held[0])
            if fixed in (None, before):
                return before
            self._free(before)
        if fixed is not None:
            if not self._take(fixed, fixed=True) and not (
                self._take_back(fixed) and self._take(fixed, fixed=True)
            ):
                raise Conflict(f"Address already in use: {fixed} in network {self._network.name}")
            return fixed
        return self._any(pool, size)

    def _any(self, pool: Pool, size: int) -> Address:
        """Return the first free address; when there is none, that of one that does not run."""
        low, high = ipam.usable(pool)
        rows = self._db.execute(
            "SELECT address FROM addresses WHERE network = ? AND address >= ? "
            "AND length(address) = ? ORDER BY address",
            (self._network.id, ipam.address(pool, low).packed, size),
        )
        number = ipam.first_free(low, high, (int.from_bytes(row[0], "big") for row in rows))
        rows.close()
        if number is None:
            number = self._left_by_others(size, low, high)
        if number is None:
            raise ResourceExhausted(
                f"no available IPv{pool.version} addresses on this network's address pools: "
                f"{self._network.name} ({self._network.id})"
            )
        found = ipam.address(pool, number)
        assert self._take(found, fixed=False)
        return found

    def _left_by_others(self, size: int, low: int, high: int) -> int | None:
        """Take an address back that nobody asked for, of a container that does not run."""
        rows = self._db.execute(
            "SELECT address FROM addresses WHERE network = ? AND length(address) = ? "
            "AND container IS NOT NULL AND fixed = 0 ORDER BY address",
            (self._network.id, size),
        ).fetchall()
        for (raw,) in rows:
            number = int.from_bytes(raw, "big")
            if low <= number <= high and self._take_back(ip_address(raw)):
                return number
        return None

    def _take(self, address: Address, *, fixed: bool) -> bool:
        """Give the container an address; False when it is somebody's."""
        try:
            self._db.execute(
                "INSERT INTO addresses (network, address, container, fixed) VALUES (?, ?, ?, ?)",
                (self._network.id, address.packed, self._record.id, int(fixed)),
            )
        except sqlite3.IntegrityError:
            return False
        return True

    def _take_back(self, address: Address) -> bool:
        """Take an address away from a container that neither runs nor is being started."""
        row = self._db.execute(
            "SELECT container FROM addresses WHERE network = ? AND address = ?",
            (self._network.id, address.packed),
        ).fetchone()
        if row is None or row[0] is None:
            return row is None
        holder = self._engine.table.get(row[0])
        if holder is None or not _is_idle(self._engine, holder):
            return False
        self._free(address)
        return True

    def _free(self, address: Address) -> None:
        self._db.execute(
            "DELETE FROM addresses WHERE network = ? AND address = ?",
            (self._network.id, address.packed),
        )


def _is_idle(engine: Engine, record: ContainerRecord) -> bool:
    """Return whether a container neither runs nor is about to: nobody holds its lock."""
    paths = Paths(engine.settings, record.id)
    with paths.try_locked() as ours:
        if not ours:
            return False
        state = merged(record, paths)
        return not (state.running or state.restarting)


def planned(engine: Engine, record: ContainerRecord, chosen: list[Place]) -> list[dict[str, Any]]:
    """Return :func:`attachments`, with addresses that are recorded by then.

    Raises as :func:`joined`.
    """
    return attachments(engine, record, chosen, joined(engine, record, chosen))


def attachments(
    engine: Engine, record: ContainerRecord, chosen: list[Place], rows: list[EndpointRow]
) -> list[dict[str, Any]]:
    """Return how the maker joins the container to its networks, in the order of interfaces."""
    by_network = {row.network: row for row in rows}
    routes = drivers.gateways(
        [(each.network.name, each.config.priority, each.network) for each in chosen]
    )
    found: list[dict[str, Any]] = []
    common = _rates(record.config) | _mark(record, chosen, rows)
    for place in chosen:
        row = by_network.get(place.network.id)
        if row is None:
            continue
        prefix = place.network.options.get(options.PREFIX) or "eth"
        endpoint = _endpoint(place, row, f"{prefix}{len(found)}", routes)
        attachment = drivers.find(place.network.driver).attachment(place.network, endpoint)
        if attachment is not None:
            if record.config.network_rate_in and not attachment["host_if"]:
                raise Unsupported(
                    f"network {place.network.name}: driver {place.network.driver} cannot limit "
                    "what a container receives"
                )
            found.append(
                {**attachment, **common, "endpoint": told(record, place, row)}
                | _events(engine, place, record)
            )
    return found


def _rates(config: ContainerConfig) -> dict[str, int | None]:
    return {"rate_in": config.network_rate_in, "rate_out": config.network_rate_out}


def _mark(record: ContainerRecord, chosen: list[Place], rows: list[EndpointRow]) -> dict[str, Any]:
    """Return the mark of what a container sends that does not reach everything, and from where."""
    if record.config.egress_allow is None:
        return {}
    sources = [str(each) for row in rows for each in row.addresses]
    sources += [text for place in chosen for text in place.config.link_local]
    return {"mark": marks.mark(record.id), "sources": sources}


def _events(engine: Engine, place: Place, record: ContainerRecord) -> dict[str, list[str]]:
    """Return what is told when the container is joined, and when it is not any more."""
    network, path = place.network, events.path(engine.settings)

    def body(action: str) -> str:
        return events.network_event(action, network.id, network.name, network.driver, record.id)

    return {"joined": [path, body("connect")], "left": [path, body("disconnect")]}


def _endpoint(
    place: Place, row: EndpointRow, interface: str, routes: dict[str, list[Address]]
) -> Endpoint:
    network, config = place.network, place.config
    lengths = {pool.version: pool.prefix for pool in network.pools}
    addresses = [f"{each}/{lengths[each.version]}" for each in row.addresses]
    local = (ip_address(text) for text in config.link_local)
    addresses += [f"{each}/{16 if each.version == 4 else 64}" for each in local]
    return Endpoint(
        host_interface=naming.host_interface(row.container, network.id),
        interface=config.options.get(IFNAME) or interface,
        mac=row.mac,
        addresses=tuple(addresses),
        gateways=tuple(str(each) for each in routes.get(network.id, ())),
        options=config.options,
    )


def told(record: ContainerRecord, place: Place, row: EndpointRow) -> dict[str, Any]:
    """Return what others learn of an endpoint: the resolver reads it from a file.

    The default network has no names, as with Docker.
    """
    names = [] if place.network.predefined else dns_names(record, place.config)
    return {
        "container": record.id,
        "network": place.network.name,
        "name": record.name if names else "",
        "names": names,
        "short": record.id[:12] if names else "",
        "addresses": [str(each) for each in row.addresses],
        "search": list(record.config.dns_search),
    }


def dns_names(record: ContainerRecord, config: EndpointConfig) -> list[str]:
    """Return a container's names in a network, in lower case: the first is what it is called."""
    all_of_them = (record.name, *config.aliases, record.config.hostname or "")
    return list(dict.fromkeys(name.lower() for name in all_of_them if name))
