"""What a container's maker tells the resolver: whom to ask for names that are not ours."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from knarr.engine.networks import joining

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.engine.records import ContainerRecord

RESOLV_CONF = "/etc/resolv.conf"


def resolver(engine: Engine, record: ContainerRecord) -> dict[str, Any] | None:
    """Return the resolver's part of a start request, None for who has no names.

    Those are the containers on nothing but the default network, as with Docker.
    """
    networks = [place.network for place in joining.places(engine, record)]
    if all(network.predefined for network in networks):
        return None
    return {
        "run_root": engine.settings.run_root,
        "packet": {
            "upstream": upstream(record.config),
            "internal": all(network.internal for network in networks),
            "ndots": _ndots(record.config),
        },
    }


def upstream(config: ContainerConfig) -> list[dict[str, Any]]:
    """Return the servers to ask, the container's own or the host's.

    One of the host's that listens on its loopback is asked from there; the others are asked
    from the container's namespace, so that they see whom its own packets come from.
    """
    if config.dns:
        return [{"address": server} for server in config.dns]
    return [{"address": each, "host": _is_loopback(each)} for each in host_servers()]


def host_servers() -> list[str]:
    """Return the name servers in the host's resolv.conf(5), in order."""
    try:
        with open(RESOLV_CONF, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split() for line in file]
    except OSError:
        return []
    found = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    return [each for each in found if _is_address(each)]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(text: str) -> bool:
    return ip_address(text).is_loopback


def _ndots(config: ContainerConfig) -> int | None:
    for option in config.dns_options:
        name, colon, value = option.partition(":")
        if name == "ndots" and colon and value.isdigit():
            return int(value)
    return None
