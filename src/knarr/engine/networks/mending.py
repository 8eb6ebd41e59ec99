"""What ``recover`` does for networks: removals are seen through, and what containers that run need
on the host is made again where somebody took it away.

So a host whose rules were flushed, or whose interfaces are gone, is whole again without a
container being started anew.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from knarr.engine import egress, held
from knarr.engine.networks import live, names, namespace, shown
from knarr.engine.networks.network import Network
from knarr.engine.paths import Paths
from knarr.engine.state import merged
from knarr.engine.translate import translated
from knarr.errors import KnarrError
from knarr.kernel import links
from knarr.kernel.netlink import Netlink
from knarr.networks import driver as drivers
from knarr.networks import naming
from knarr.runtime.egress import guard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from knarr.engine.engine import Engine
    from knarr.engine.records import ContainerRecord
    from knarr.networks.definition import Definition

_log = logging.getLogger("knarr.engine")


def mend(engine: Engine) -> Mended:
    """Put all networks right. One that cannot be is told, and does not keep the others from it."""
    found = Mended()
    try:
        namespace.require(engine.settings.run_root)
    except KnarrError as error:
        found.problems.append(str(error))
        return found
    for network in engine.networks.table.removing():
        with found.attempt(network):
            engine.networks.see_through(network)
            found.done.append(f"network {network.name}, which was to be removed")
    for network in engine.networks.table.all():
        if drivers.find(network.driver).paired:
            with found.attempt(network):
                found.done.extend(_network(engine, network))
    if egress.current(engine.settings):
        with translated("containers with --egress-allow"):
            guard()
    if names.revive(engine.settings):
        found.done.append("the DNS server of containers, which had gone")
    return found


@dataclass(frozen=True, slots=True)
class Mended:
    """What was done, and what could not be, in words."""

    done: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @contextmanager
    def attempt(self, network: Definition) -> Iterator[None]:
        """Note what fails in the block."""
        try:
            with translated(f"network {network.name}"):
                yield
        except KnarrError as error:
            _log.warning("recover: %s", error)
            self.problems.append(str(error))


def _network(engine: Engine, network: Definition) -> Iterator[str]:
    active = []
    for record, row in Network(engine, network).active():
        if shown.is_on(engine, record, network.id):
            active.append((record, row))
        else:
            yield from _leave(engine, record, network)
    if not active:
        return
    whole = engine.networks.on_host.is_made(network)
    with engine.networks.on_host.ready([network]), Netlink() as sock:
        there = links.names(sock)
        if not whole:
            yield f"network {network.name}, which was not whole on the host"
            _ports(sock, network, there, [record for record, _ in active])
    for record, _ in active:
        if naming.host_interface(record.id, network.id) not in there:
            yield from _join(engine, record, network)


def _ports(
    sock: Netlink, network: Definition, there: dict[str, int], records: list[ContainerRecord]
) -> None:
    """Have containers' interfaces be ports of the bridge that was made anew. Raises OSError."""
    bridge = there[drivers.find(network.driver).interface(network)]
    for record in records:
        index = there.get(naming.host_interface(record.id, network.id))
        if index is not None:
            drivers.find(network.driver).plug(sock, network, index, bridge)


def _leave(engine: Engine, record: ContainerRecord, network: Definition) -> Iterator[str]:
    """Take a running container off a network that it was not joined to in the end."""
    paths = Paths(engine.settings, record.id)
    with paths.try_locked() as ours:
        if not ours:
            return  # somebody is at it
        fresh = held.row(engine, paths)
        if shown.is_on(engine, fresh, network.id):
            return
        live.detach(engine, fresh, paths, network)
    yield f"container {record.name}, which was half on network {network.name}"


def _join(engine: Engine, record: ContainerRecord, network: Definition) -> Iterator[str]:
    """Join a running container again whose interface is gone."""
    paths = Paths(engine.settings, record.id)
    with paths.try_locked() as ours:
        if not ours:
            return  # somebody is at it
        try:
            with translated(f"container {record.name}"):
                fresh = held.row(engine, paths)
                live.attach(engine, fresh, paths, fresh.config, network)
        except KnarrError:
            if not merged(record, paths).running:
                return  # it has just ended
            raise
    yield f"container {record.name}, which had lost its interface in network {network.name}"
