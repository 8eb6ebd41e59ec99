"""What a new container's networks are: names and full ids instead of starts of ids, checked.

A network that is not there yet is left to the start, as with Docker.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from knarr.engine import egress
from knarr.engine.model import OTHER
from knarr.engine.networks import endpointrules, joining
from knarr.errors import NotFound

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.networks.definition import Definition


def settled(engine: Engine, config: ContainerConfig) -> ContainerConfig:
    """Return the configuration with its networks settled. Raises InvalidArgument."""
    named = {config.network or "none": _settled_name(engine, config.network or "none")}
    endpoints = []
    if config.egress_allow is not None:
        egress.check_networks(config, _there(engine, config))
    for each in config.endpoints or ():
        try:
            network = engine.networks.find(each.network)
        except NotFound:
            endpoints.append(each)
            continue
        endpointrules.check(network, each)
        named[each.network] = _settled_name(engine, each.network)
        endpoints.append(replace(each, network=named[each.network]))
    joining.check_together(engine, endpoints)
    return replace(
        config,
        network=config.network and named[config.network],
        endpoints=None if config.endpoints is None else tuple(endpoints),
    )


def _there(engine: Engine, config: ContainerConfig) -> Iterator[Definition]:
    """Yield those of a configuration's networks that there are."""
    for name in {config.network or "none", *(each.network for each in config.endpoints or ())}:
        if not name.startswith(OTHER):
            with contextlib.suppress(NotFound):
                yield engine.networks.find(name)


def _settled_name(engine: Engine, text: str) -> str:
    """Return a name or full id as it is, the full id for the start of one."""
    try:
        network = engine.networks.find(text)
    except NotFound:
        return text
    return text if text in (network.name, "default") else network.id
