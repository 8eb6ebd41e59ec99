"""A container's networks in Docker's objects, and their names for listings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.engine.networks import joining
from knarr.errors import InvalidArgument, NotFound
from knarr.networks import driver as drivers

if TYPE_CHECKING:
    from knarr.engine.endpointconfig import EndpointConfig
    from knarr.engine.engine import Engine
    from knarr.engine.networks.table import EndpointRow
    from knarr.engine.records import ContainerRecord
    from knarr.networks.definition import Address, Definition

_ID = 64


def names(engine: Engine, record: ContainerRecord) -> list[str]:
    """Return the names of the networks that a container is on, or will be when it runs."""
    return [_name(engine, each) for each in joining.wanted(record.config)]


def is_on(engine: Engine, record: ContainerRecord, name_or_id: str) -> bool:
    """Return whether a container is on the network with this name or id."""
    configs = joining.wanted(record.config)
    if name_or_id in (each.network for each in configs):
        return True
    try:
        wanted = engine.networks.find(name_or_id)
    except (NotFound, InvalidArgument):
        return False
    return wanted.name in (_name(engine, each) for each in configs)


def _name(engine: Engine, config: EndpointConfig) -> str:
    text = config.network
    if text == "default":
        return "bridge"
    if len(text) != _ID:
        return text
    try:
        return engine.networks.find(text).name
    except NotFound:
        return text


def networks(engine: Engine, record: ContainerRecord, *, running: bool) -> dict[str, Any]:
    """Return ``NetworkSettings.Networks``; addresses are there while it runs."""
    chosen: list[tuple[EndpointConfig, Definition | None]] = []
    for config in joining.wanted(record.config):
        try:
            chosen.append((config, engine.networks.find(config.network)))
        except NotFound:
            chosen.append((config, None))
    rows: dict[str, EndpointRow] = {}
    if running:
        rows = {row.network: row for row in engine.networks.table.endpoints(container=record.id)}
    routes = drivers.gateways(
        [(network.name, config.priority, network) for config, network in chosen if network]
    )
    found = {}
    for config, network in chosen:
        row = rows.get(network.id) if network else None
        name = network.name if network else config.network
        found[name] = _endpoint(record, config, network, row, routes)
    return found


def _endpoint(
    record: ContainerRecord,
    config: EndpointConfig,
    network: Definition | None,
    row: EndpointRow | None,
    routes: dict[str, list[Address]],
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "IPAMConfig": _asked(config),
        "Links": None,
        "Aliases": list(config.aliases) or None,
        "DriverOpts": dict(config.options) or None,
        "GwPriority": config.priority,
        "NetworkID": network.id if network else "",
        "EndpointID": row.id if row else "",
        "Gateway": "",
        "IPAddress": "",
        "MacAddress": row.mac if row else (config.mac or ""),
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": None,
    }
    if network is None or row is None:
        return shown
    for address in row.addresses:
        pool = network.of_version(address.version)
        v4 = address.version == 4
        shown["IPAddress" if v4 else "GlobalIPv6Address"] = str(address)
        shown["IPPrefixLen" if v4 else "GlobalIPv6PrefixLen"] = pool.prefix if pool else 0
    for gateway in routes.get(network.id, ()):
        if not gateway.is_unspecified:
            shown["Gateway" if gateway.version == 4 else "IPv6Gateway"] = str(gateway)
    if not network.predefined:
        own = (record.name, *config.aliases, record.id[:12], record.config.hostname or "")
        shown["DNSNames"] = list(dict.fromkeys(name for name in own if name))
    return shown


def _asked(config: EndpointConfig) -> dict[str, Any] | None:
    asked = {
        "IPv4Address": config.ip,
        "IPv6Address": config.ip6,
        "LinkLocalIPs": list(config.link_local),
    }
    return {name: value for name, value in asked.items() if value} or None
