"""Names as a container on networks sees them: its files, and what its resolver is told."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from knarr.engine import egress, hostfiles, resolvconf
from knarr.engine.networks import watched
from knarr.engine.paths import Paths
from knarr.networks import driver as drivers
from knarr.networks.resolver import client
from knarr.runtime import network as runtime
from knarr.runtime import packets, resolving

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from knarr.config import Settings
    from knarr.engine.records import ContainerRecord
    from knarr.networks.definition import Definition
    from knarr.supervisor.undo import Undo

_log = logging.getLogger("knarr.engine")


def introduce(
    settings: Settings,
    record: ContainerRecord,
    networks: Sequence[Definition],
    attachments: Sequence[dict[str, Any]],
) -> dict[str, Any] | None:
    """Write /etc/hosts and /etc/resolv.conf of a container that is about to start.

    Returns the resolver's part of the start request, None for a container on nothing but the
    default network, which has no names, as with Docker, unless it may not ask for all of the
    world's. Raises OSError.
    """
    paths = Paths(settings, record.id)
    addresses = [address.partition("/")[0] for each in attachments for address in each["addresses"]]
    resolver = None
    if not is_served(record, networks):
        conf = resolvconf.asked(_of_host(), record.config)
        text = resolvconf.for_bridge(conf, ipv6=any(":" in each for each in addresses))
    else:
        text, packet = _named(settings, record, networks)
        resolver = {"run_root": paths.run_root, "packet": packet}
    hosts = hostfiles.addressed(record.config, record.id, addresses)
    hostfiles.replace(paths.data, {"hosts": hosts, "resolv.conf": text})
    return resolver


def is_served(record: ContainerRecord, networks: Sequence[Definition]) -> bool:
    """Return whether the resolver answers a container on these networks."""
    named = not all(network.predefined for network in networks)
    return named or record.config.egress_allow is not None


def _named(
    settings: Settings, record: ContainerRecord, networks: Sequence[Definition]
) -> tuple[str, dict[str, Any]]:
    """Return resolv.conf of a container with names, and what its resolver is told."""
    named = resolvconf.for_names(resolvconf.asked(_of_host(), record.config))
    internal = all(network.internal for network in networks)
    upstream = named.upstream
    if record.config.egress_allow is not None and not internal:
        # From its own network they may be out of reach: it was not they that were allowed.
        upstream = [{**each, "host": each["host"] or not _is_own(each)} for each in upstream]
    packet = {"upstream": upstream, "internal": internal, "ndots": named.ndots}
    return named.text, packet | egress.told(settings, record)


def _is_own(server: dict[str, Any]) -> bool:
    """Tell whether a server's address is another one for each who asks: it is on the loopback."""
    address: str = server["address"]
    return address.startswith("127.") or address == "::1"


def begin(
    settings: Settings,
    record: ContainerRecord,
    life: tuple[int, int],
    networks: Sequence[Definition],
    acts: Undo,
) -> None:
    """Have a container find names that runs and was on nothing but the default network so far.

    life: number and beginning of its first process. networks: all that it is on now. The
    calling thread finds itself in the container's network namespace afterwards. Raises OSError.
    """
    paths = Paths(settings, record.id)
    text, packet = _named(settings, record, networks)
    sockets = resolving.sockets_file(paths.run_root, record.id)
    acts.add("file", sockets)
    packet |= {
        "container": record.id,
        "pid": life[0],
        "pid_start": life[1],
        "networks": [network.id for network in networks],
    }
    vigil = watched.words(settings)
    with client.ensure(paths.run_root, vigil=vigil), runtime.Inside(*life) as inside:
        resolving.serve(paths.run_root, inside.fileno(), packet)
    hostfiles.change(f"{paths.data}/resolv.conf", lambda before: _replaced(before, text))


def _replaced(before: str, text: str) -> str:
    """Return a new resolv.conf, unless somebody in the container has made one of their own."""
    return text if before.startswith(resolvconf.HEADER) else before


def moved(
    record: ContainerRecord, paths: Paths, *, came: Sequence[str] = (), went: Sequence[str] = ()
) -> None:
    """Write in /etc/hosts which addresses a running container has and has no more. OSError."""
    gone = hostfiles.host_lines(record.config, record.id, went)
    new = hostfiles.host_lines(record.config, record.id, came)

    def changed(before: str) -> str:
        kept = [line for line in before.splitlines(keepends=True) if line not in (*gone, *new)]
        if kept and not kept[-1].endswith("\n"):
            kept[-1] += "\n"
        return "".join((*kept, *new))

    hostfiles.change(f"{paths.data}/hosts", changed)


def has_rules(networks: Sequence[Definition]) -> bool:
    """Return whether the firewall has rules for some of these networks."""
    return any(drivers.find(network.driver).paired for network in networks)


def watch_over(settings: Settings) -> Callable[[], None]:
    """Have the rules of containers without a resolver watched over, by the same process.

    Nobody waits for it: returned is what to call when there is time. What fails is a warning.
    """
    try:
        return client.watch(settings.run_root, watched.words(settings))
    except OSError as error:
        _log.warning("nobody watches over the firewall's rules: %s", error)
        return lambda: None


def revive(settings: Settings) -> bool:
    """Start the resolver if containers count on it and it is gone; tell whether it was so."""
    run_root = settings.run_root
    if not any(files for _, _, files in os.walk(f"{run_root}/{resolving.FOLDER}")):
        return False
    try:
        packets.connect(run_root, resolving.SOCKET).close()
    except (ConnectionRefusedError, FileNotFoundError):
        client.ensure(run_root, vigil=watched.words(settings)).close()
        return True
    return False


def _of_host() -> resolvconf.ResolvConf:
    found = _read(resolvconf.PATH)
    if resolvconf.is_of_resolved(found):
        behind = _read(resolvconf.BEHIND_RESOLVED)
        return behind if behind.servers else found
    return found


def _read(path: str) -> resolvconf.ResolvConf:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return resolvconf.parse(file.read(), path)
    except OSError:
        return resolvconf.ResolvConf(path=path)  # a host without that file
