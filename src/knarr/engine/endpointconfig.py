"""``EndpointConfig``: how a container is to be joined to one network, as its caller said it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """What ``--network name=…`` can say.

    network: name, id, or unambiguous start of one. aliases: further names in this network. ip,
    ip6: addresses that it must be. link_local: addresses beside those of the network. mac:
    Ethernet address. options: the driver's, for this endpoint. priority: of several networks the
    one with the highest has the default route.
    """

    network: str
    aliases: tuple[str, ...] = ()
    ip: str | None = None
    ip6: str | None = None
    link_local: tuple[str, ...] = ()
    mac: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    priority: int = 0
