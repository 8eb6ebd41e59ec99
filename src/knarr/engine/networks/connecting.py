"""``network connect`` and ``disconnect``: of a container that runs, at once; else for its start.

What a container is to be joined to is part of its configuration, so it comes back with every
start. The order of the acts is such that a process killed between them leaves nothing that
the container's end, or the next connect, would not put right.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from knarr.engine import egress, held
from knarr.engine.crashpoint import reached
from knarr.engine.model import OTHER
from knarr.engine.networks import endpointrules, joining, live, namespace
from knarr.engine.paths import Paths
from knarr.engine.state import merged
from knarr.engine.translate import translated
from knarr.errors import Conflict, InvalidArgument, NotFound

if TYPE_CHECKING:
    from knarr.engine.endpointconfig import EndpointConfig
    from knarr.engine.engine import Engine
    from knarr.engine.networks.joining import Place
    from knarr.engine.records import ContainerRecord
    from knarr.networks.definition import Definition


def connect(engine: Engine, name_or_id: str, container: str, config: EndpointConfig) -> None:
    """Join a container to a network. Raises as ``Networks.connect``."""
    network = engine.networks.find(name_or_id)
    config = replace(config, network=network.name)
    found = engine.containers.get(container)
    paths = Paths(engine.settings, found.id)
    with translated(f"container {found.name}"), paths.locked():
        namespace.require(engine.settings.run_root)
        record = held.row(engine, paths)
        state = held.settled(engine, record, paths)
        _check(engine, record, network)
        endpointrules.check(network, config)
        if any(place.network.id == network.id for place in _present(engine, record)):
            raise Conflict(
                f"endpoint with name {record.name} already exists in network {network.name}"
            )
        before = record.config
        after = replace(before, endpoints=(*joining.wanted(before), config))
        if state.running:
            live.attach(engine, record, paths, after, network)
        engine.table.configure(record.id, after)


def disconnect(engine: Engine, name_or_id: str, container: str, *, force: bool) -> None:
    """Take a container off a network. Raises as ``Networks.disconnect``."""
    try:
        found = engine.containers.get(container)
    except NotFound:
        if force:
            return
        raise
    paths = Paths(engine.settings, found.id)
    with translated(f"container {found.name}"), paths.locked():
        namespace.require(engine.settings.run_root)
        record = held.row(engine, paths)
        name, network = _which(engine, record, name_or_id)
        if record.config.network == "host" and name == "host":
            raise InvalidArgument(
                "cannot disconnect container from host network - container was created in "
                "host network mode"
            )
        rest = tuple(each for each in joining.wanted(record.config) if _name(engine, each) != name)
        if len(rest) == len(joining.wanted(record.config)):
            raise InvalidArgument(f"container {record.id} is not connected to network {name}")
        engine.table.configure(record.id, replace(record.config, endpoints=rest))
        reached("network.configured")
        if network is not None:
            if merged(record, paths).running:
                live.detach(engine, record, paths, network)
            engine.networks.table.disconnect(record.id, network.id)


def _which(
    engine: Engine, record: ContainerRecord, name_or_id: str
) -> tuple[str, Definition | None]:
    """Return name and network; a container can be taken off one that is gone."""
    try:
        network = engine.networks.find(name_or_id)
    except NotFound:
        if name_or_id not in (each.network for each in joining.wanted(record.config)):
            raise
        return name_or_id, None
    return network.name, network


def _name(engine: Engine, config: EndpointConfig) -> str:
    try:
        return engine.networks.find(config.network).name
    except NotFound:
        return config.network


def _present(engine: Engine, record: ContainerRecord) -> list[Place]:
    """Return where a container is to be joined already; a network that is gone is nowhere."""
    found = []
    for config in joining.wanted(record.config):
        try:
            found.append(joining.Place(engine.networks.find(config.network), config))
        except NotFound:
            continue
    return found


def _check(engine: Engine, record: ContainerRecord, network: Definition) -> None:
    """Raise InvalidArgument where one of the networks allows no second."""
    if (record.config.network or "").startswith(OTHER):
        raise InvalidArgument(joining.SHARED)
    if network.driver == "host" and record.config.network != "host":
        raise InvalidArgument(
            "cannot connect container to host network - container must be created in host "
            "network mode"
        )
    there = [place.network for place in _present(engine, record)]
    joining.require_together([each for each in there if each.id != network.id] + [network])
    egress.check_networks(record.config, [network])
