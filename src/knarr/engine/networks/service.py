"""``Networks``: all networks of an engine, and who is joined to them."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.engine import events
from knarr.engine.crashpoint import reached
from knarr.engine.networks import connecting, joining, listing, subnets
from knarr.engine.networks.network import Network
from knarr.engine.networks.onhost import OnHost
from knarr.engine.networks.table import NetworkTable
from knarr.networks import driver as drivers
from knarr.networks import ipam, naming, options
from knarr.networks.definition import DEFAULT, PREDEFINED, Definition, Pool
from knarr.networks.drivers import bridge

if TYPE_CHECKING:
    from knarr.engine.endpointconfig import EndpointConfig
    from knarr.engine.engine import Engine
    from knarr.engine.networks.mending import Mended
    from knarr.engine.records import ContainerRecord

_ALWAYS = {DEFAULT: "bridge", "host": "host", "none": "null"}


class Networks:
    """Makes, finds and removes networks; connects containers to them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.table = NetworkTable(engine.store)

    @cached_property
    def on_host(self) -> OnHost:
        """What the networks have on the host."""
        return OnHost(self._engine)

    def create(
        self,
        name: str,
        *,
        driver: str = "bridge",
        pools: Sequence[Pool] = (),
        ipv4: bool = True,
        ipv6: bool = False,
        internal: bool = False,
        attachable: bool = False,
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Network:
        """Create a network and return it. Nothing of it is on the host before it is used.

        pools: its subnets; without one of a family that is on, the first that is free is
        taken. options: of the driver, under Docker's names. Raises Conflict for a name in use,
        Forbidden for a predefined name and for a subnet that overlaps with another, NotFound
        for a driver that there is not, InvalidArgument, Unsupported, ResourceExhausted.
        """
        if name in PREDEFINED:
            raise errors.Forbidden(f"operation is not permitted on predefined {name} network")
        _check_name(name)
        drivers.find(driver)
        ipam.check_pools(pools)
        for pool in pools:
            if not (ipv6 if pool.version == 6 else ipv4):
                raise errors.InvalidArgument(
                    f"subnet {pool.subnet}: IPv{pool.version} is not enabled for network {name}"
                )
        wanted = Definition(
            "", name, driver, 0, ipv4, ipv6, internal, attachable,
            dict(options or {}), dict(labels or {}), tuple(pools),
        )  # fmt: skip
        made = self.table.insert(wanted, subnets.chosen(self._seed))
        events.note_network(self._engine, "create", made.id, made.name, made.driver)
        return Network(self._engine, made)

    @property
    def _seed(self) -> bytes:
        return f"{_machine_id()}\0{self._engine.settings.data_root}".encode()

    def get(self, name_or_id: str) -> Network:
        """Return the network with this name, id, or unambiguous start of an id.

        Raises NotFound, InvalidArgument when several match.
        """
        return Network(self._engine, self.find(name_or_id))

    def find(self, name_or_id: str) -> Definition:
        """Return what :meth:`get` finds, as a value."""
        if name_or_id in ("", "default"):
            name_or_id = DEFAULT
        if name_or_id in _ALWAYS:
            return self._predefined(name_or_id)
        return self.table.find(name_or_id)

    def _predefined(self, name: str) -> Definition:
        """Return a network that is always there; the first who asks for it has it recorded."""
        found = self.table.named(name)
        if found is not None:
            return found
        said = {}
        if name == DEFAULT:
            said = {
                bridge.DEFAULT_BRIDGE: "true",
                bridge.ICC: "true",
                bridge.MASQUERADE: "true",
                bridge.BINDING: "0.0.0.0",
                bridge.NAME: naming.default_bridge(self._engine.settings.data_root),
                options.MTU: "1500",
            }
        wanted = Definition("", name, _ALWAYS[name], 0, options=said)
        try:
            return self.table.insert(wanted, subnets.chosen(self._seed))
        except errors.Conflict:
            return self.table.find(name)  # somebody else was quicker

    def list(self, filters: Mapping[str, Sequence[str]] | None = None) -> builtins.list[Network]:
        """Return the networks, by name.

        filters: as ``docker network ls --filter``: dangling, driver, id, label, name, scope,
        type. Raises InvalidArgument for others.
        """
        test = listing.compiled(filters or {})
        for name in _ALWAYS:
            self._predefined(name)
        found = [Network(self._engine, each) for each in self.table.all()]
        return sorted((each for each in found if test(each)), key=lambda each: each.name)

    def remove(self, name_or_id: str) -> None:
        """Remove a network. Raises NotFound, Forbidden while a container on it runs."""
        network = self.find(name_or_id)
        if network.predefined:
            raise errors.Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        self._remove(network)

    def _remove(self, network: Definition) -> None:
        with self.on_host.alone(network):
            if self.table.get(network.id) is None:
                raise errors.NotFound(f"network {network.name} not found")
            active = Network(self._engine, network).active()
            if active:
                names = ", ".join(
                    f'name:"{record.name}" id:"{row.id[:12]}"' for record, row in active
                )
                raise errors.Forbidden(
                    f"error while removing network: network {network.name} "
                    f"has active endpoints ({names})"
                )
            self.table.mark_removing(network.id)
            reached("network.marked")
            self.on_host.unmake(network)
            reached("network.unmade")
            self.table.delete(network.id)
            self.on_host.forget(network)
        events.note_network(self._engine, "destroy", network.id, network.name, network.driver)

    def prune(self, filters: Mapping[str, Sequence[str]] | None = None) -> builtins.list[str]:
        """Remove all networks that no running container is on; return their names.

        filters: ``until``, ``label``, ``label!``. Raises InvalidArgument for others.
        """
        test = listing.compiled_prune(filters or {})
        removed = []
        for network in self.table.all():
            found = Network(self._engine, network)
            if network.predefined or not test(found) or found.active():
                continue
            try:
                self._remove(network)
            except (errors.Forbidden, errors.NotFound):
                continue  # somebody has come to it, or removed it, meanwhile
            removed.append(network.name)
        return removed

    def connect(self, name_or_id: str, container: str, config: EndpointConfig) -> None:
        """Join a container to a network, also while it runs. config.network is not looked at.

        Raises NotFound, InvalidArgument, Conflict in Docker's words.
        """
        connecting.connect(self._engine, name_or_id, container, config)

    def disconnect(self, name_or_id: str, container: str, *, force: bool = False) -> None:
        """Take a container off a network, also while it runs.

        force: a container that there is not any more is no error. Raises NotFound,
        InvalidArgument in Docker's words.
        """
        connecting.disconnect(self._engine, name_or_id, container, force=force)

    @contextmanager
    def ready(
        self, record: ContainerRecord
    ) -> Iterator[tuple[builtins.list[Definition], builtins.list[dict[str, Any]]]]:
        """Have all networks of a container made; lend them and its attachments.

        None of the networks is removed while the block runs. Raises NotFound (network),
        InvalidArgument, Conflict (address), ResourceExhausted, and what the kernel says.
        """
        chosen = joining.places(self._engine, record)
        networks = [each.network for each in chosen]
        with self.on_host.ready(networks):
            yield networks, joining.planned(self._engine, record, chosen)

    def recover(self) -> Mended:
        """Put right what dead processes left and others took away; return that in words."""
        from knarr.engine.networks import mending

        return mending.mend(self._engine)

    def see_through(self, network: Definition) -> None:
        """Remove a network whose removal was begun; somebody may do so at the same time."""
        with contextlib.suppress(errors.NotFound):
            self._remove(network)


def _check_name(name: str) -> None:
    if not name.strip():
        raise errors.InvalidArgument("invalid name: name is empty")
    if not name.isprintable() or "/" in name or name.startswith("container:"):
        raise errors.InvalidArgument(
            f"invalid name {name!r}: no slash in it, only printable characters, "
            "and not container: in front"
        )


def _machine_id() -> str:
    try:
        with open("/etc/machine-id", encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""
