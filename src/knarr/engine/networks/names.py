"""Names as a container on networks sees them: its files, and what its resolver is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.engine import hostfiles, resolvconf
from knarr.engine.networks import joining

if TYPE_CHECKING:
    from collections.abc import Sequence

    from knarr.engine.engine import Engine
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord


def introduce(
    engine: Engine, record: ContainerRecord, paths: Paths, attachments: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    """Write /etc/hosts and /etc/resolv.conf of a container that is about to start.

    Returns the resolver's part of the start request, None for a container on nothing but the
    default network, which has no names, as with Docker. Raises OSError.
    """
    addresses = [address.partition("/")[0] for each in attachments for address in each["addresses"]]
    conf = resolvconf.asked(_of_host(), record.config)
    networks = [place.network for place in joining.places(engine, record)]
    resolver = None
    if all(network.predefined for network in networks):
        text = resolvconf.for_bridge(conf, ipv6=any(":" in each for each in addresses))
    else:
        named = resolvconf.for_names(conf)
        text = named.text
        packet = {
            "upstream": named.upstream,
            "internal": all(network.internal for network in networks),
            "ndots": named.ndots,
        }
        resolver = {"run_root": engine.settings.run_root, "packet": packet}
    hosts = hostfiles.addressed(record.config, record.id, addresses)
    hostfiles.replace(paths.data, {"hosts": hosts, "resolv.conf": text})
    return resolver


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
