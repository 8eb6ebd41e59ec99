"""Joining a container that runs to a network, and taking it off one.

What the maker does at a start is done here from outside, in a thread that lives for that alone,
since it goes into the container's network namespace. Each act has its line in the container's
undo file first, so whoever takes back what was made for the container takes this back too.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from knarr.engine import egress, events
from knarr.engine.crashpoint import reached
from knarr.engine.networks import joining, names
from knarr.engine.paths import Paths
from knarr.engine.ports import current as ports
from knarr.engine.state import merged
from knarr.errors import Conflict
from knarr.kernel import links
from knarr.kernel.netlink import Netlink
from knarr.networks import driver as drivers
from knarr.networks import naming
from knarr.runtime import network as runtime
from knarr.runtime import resolving
from knarr.runtime.egress import allow
from knarr.supervisor import state as states
from knarr.supervisor import undo
from knarr.supervisor.undo import Undo

if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.engine.networks.table import EndpointRow
    from knarr.engine.records import ContainerRecord
    from knarr.engine.state import ContainerState
    from knarr.networks.definition import Definition


def attach(
    engine: Engine,
    record: ContainerRecord,
    paths: Paths,
    config: ContainerConfig,
    network: Definition,
) -> None:
    """Join a running container, whose lock is held, to one more network of its new config.

    What was done is taken back when it fails. Raises as ``Networks.ready``, Conflict when the
    container ends meanwhile.
    """
    life, run_root = _life(record, paths), engine.settings.run_root
    later = _with(record, config)
    chosen = joining.places(engine, later)
    try:
        with engine.networks.on_host.ready([network]):
            rows = joining.joined(engine, later, chosen)
            plans = joining.attachments(engine, later, chosen, rows)
            (wanted,) = [dict(each) for each in plans if each["network"] == network.id]
            if wanted["host_if"]:
                runtime.detach(wanted["host_if"])  # of one who was killed while at this
            wanted["name"] = _interface(life[0], wanted["name"])
            wanted["gateways"] = []  # there may be a default route already: see _route
            acts = Undo(paths.run)
            try:
                _limit(engine, later, paths, acts)
                _apart(lambda: runtime.attach(life[0], [wanted], acts.add, life[1]))
                reached("network.joined")
                _apart(lambda: _route(life, chosen, rows))
                told_in = resolving.endpoint_file(run_root, network.id, record.id)
                acts.add("file", told_in)
                resolving.write(told_in, {**wanted["endpoint"], "pid": life[0]})
                reached("network.told")
                _name(engine, record, life, chosen, acts)
                came = [address.partition("/")[0] for address in wanted["addresses"]]
                names.moved(record, paths, came=came)
                ports.move(paths, engine.networks.on_host.firewall.table, plans)
            finally:
                acts.close()
            _life(record, paths)  # its end may have come before our lines
    except BaseException:  # also a signal's: what is not joined has no address
        _take_back(engine, record, paths, network)
        raise
    events.note_network(engine, "connect", network.id, network.name, network.driver, record.id)


def detach(engine: Engine, record: ContainerRecord, paths: Paths, network: Definition) -> None:
    """Take a running container, whose lock is held, off a network. Raises OSError."""
    _take_back(engine, record, paths, network)
    later = engine.table.existing(record.id)
    chosen = joining.places(engine, later)
    _tell_resolver(engine.settings.run_root, record, chosen)
    rows = joining.joined(engine, later, chosen)
    state = merged(record, paths)
    if state.running:
        _apart(lambda: _route((state.pid, state.start_time), chosen, rows))
        plans = joining.attachments(engine, later, chosen, rows)
        ports.move(paths, engine.networks.on_host.firewall.table, plans)
    events.note_network(engine, "disconnect", network.id, network.name, network.driver, record.id)


def _take_back(engine: Engine, record: ContainerRecord, paths: Paths, network: Definition) -> None:
    """Remove interface, names and addresses of a container in a network, as far as they are."""
    try:
        os.unlink(resolving.endpoint_file(engine.settings.run_root, network.id, record.id))
    except FileNotFoundError:
        pass
    if drivers.find(network.driver).addressed:
        rows = engine.networks.table.endpoints(container=record.id)
        own = {str(ip) for row in rows if row.network == network.id for ip in row.addresses}
        with contextlib.suppress(FileNotFoundError):  # the container is being removed
            names.moved(record, paths, went=sorted(own))
        ports.let_go(Paths(engine.settings, record.id), engine.networks.on_host.firewall.table, own)
        if drivers.find(network.driver).paired:
            runtime.detach(naming.host_interface(record.id, network.id))
        else:
            _apart(lambda: _drop(merged(record, paths), own))
    engine.networks.table.disconnect(record.id, network.id)
    _forget(paths, network, record)


def _forget(paths: Paths, network: Definition, record: ContainerRecord) -> None:
    """Take the lines of a container in a network out of its undo file: they were carried out."""
    interface = naming.host_interface(record.id, network.id)
    endpoint = resolving.endpoint_file(paths.run_root, network.id, record.id)

    def is_ours(operation: str, value: Any) -> bool:
        return (operation, value) in (("link", interface), ("file", endpoint)) or (
            operation == "event" and network.id in value[1]
        )

    lines = [each for each in undo.pending(paths.run) if not is_ours(*each)]
    body = b"".join(json.dumps(each).encode() + b"\n" for each in lines)
    with contextlib.suppress(FileNotFoundError):  # the container has ended
        states.replace(paths.run, body, "undo")


def _limit(engine: Engine, record: ContainerRecord, paths: Paths, acts: Undo) -> None:
    """See to it that a container that is not to reach everything does not, wherever it is."""
    plan = egress.plan(engine.settings, record)
    if plan is not None:
        if not egress.of(paths.run):
            acts.add("egress", plan)  # it was on no network so far
        allow(plan)


def _name(
    engine: Engine,
    record: ContainerRecord,
    life: tuple[int, int],
    chosen: list[joining.Place],
    acts: Undo,
) -> None:
    """Have a container find the names of its networks, as they are now."""
    networks = [place.network for place in chosen]
    run_root = engine.settings.run_root
    if os.path.exists(resolving.sockets_file(run_root, record.id)):
        _tell_resolver(run_root, record, chosen)
    elif names.is_served(record, networks):
        _apart(lambda: names.begin(engine.settings, record, life, networks, acts))
    elif names.has_rules(networks):
        names.watch_over(engine.settings)()


def _tell_resolver(run_root: str, record: ContainerRecord, chosen: list[joining.Place]) -> None:
    """Have a container that is served asked for the names of its networks as they are now."""
    path = resolving.sockets_file(run_root, record.id)
    try:
        with open(path, "rb") as file:
            told: dict[str, Any] = json.loads(file.read())
        networks = [place.network.id for place in chosen]
        internal = all(place.network.internal for place in chosen)
        resolving.write(path, {**told, "networks": networks, "internal": internal}, again=True)
    except FileNotFoundError:
        return  # it has no resolver, or has just ended


def renamed(engine: Engine, record: ContainerRecord) -> None:
    """Have a running container's new name told in its networks. record: with that name."""
    for place in joining.places(engine, record):
        rows = engine.networks.table.endpoints(network=place.network.id, container=record.id)
        for row in rows:
            path = resolving.endpoint_file(engine.settings.run_root, place.network.id, record.id)
            with contextlib.suppress(FileNotFoundError):  # it does not run
                os.stat(path)
                resolving.write(path, joining.told(record, place, row), again=True)


def _with(record: ContainerRecord, config: ContainerConfig) -> ContainerRecord:
    """Return a container's row with another configuration."""
    later = replace(record)
    later.__dict__["config"] = config
    return later


def _life(record: ContainerRecord, paths: Paths) -> tuple[int, int]:
    """Return number and beginning of the first process of a container that runs. Conflict."""
    state = merged(record, paths)
    if not state.running:
        raise Conflict(f"container {record.id} is not running")
    return state.pid, state.start_time


def _interface(pid: int, wanted: str) -> str:
    """Return a name that no interface of a process's network has: the one wanted, else ethN."""
    with open(f"/proc/{pid}/net/dev", encoding="utf-8", errors="replace") as file:
        there = {line.partition(":")[0].strip() for line in file}
    if wanted not in there:
        return wanted
    return next(name for name in (f"eth{each}" for each in range(len(there) + 1))
                if name not in there)  # fmt: skip


def _route(life: tuple[int, int], chosen: list[joining.Place], rows: list[EndpointRow]) -> None:
    """Have the default routes go where they are to go, now that the networks are others."""
    routes = drivers.gateways(
        [(each.network.name, each.config.priority, each.network) for each in chosen]
    )
    own = {row.network: row.addresses for row in rows}
    namespace = runtime.Inside(*life)
    try:
        with namespace, Netlink() as sock:
            at = {address: index for _, index, address, _ in links.addresses(sock)}
            for network, gateways in routes.items():
                for gateway in gateways:
                    ours = [each for each in own[network] if each.version == gateway.version]
                    index = at.get(ours[0].packed) if ours else None
                    if index is not None:
                        sock.ask(links.new_route(index, str(gateway), replace=True))
    finally:
        namespace.close()


def _drop(state: ContainerState, own: set[str]) -> None:
    """Remove the interface that has one of these addresses from a container's network."""
    if not state.pid:
        return
    try:
        namespace = runtime.Inside(state.pid, state.start_time)
    except (FileNotFoundError, ProcessLookupError):
        return  # it went with the container
    try:
        with namespace, Netlink() as sock:
            at = {
                index for _, index, raw, _ in links.addresses(sock) if str(ip_address(raw)) in own
            }
            for name, index in links.names(sock).items():
                if index in at:
                    sock.ask(links.delete_link(name))
    finally:
        namespace.close()


def _apart(act: Callable[[], None]) -> None:
    """Run what changes its thread's namespaces in a thread of its own; raise what it raises."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:  # told by who waits for us
            failed.append(error)

    thread = threading.Thread(target=run, name="network")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
