"""``network ls`` and ``network prune``: Docker's filters on networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from knarr.errors import InvalidArgument
from knarr.images import labels, times

if TYPE_CHECKING:
    from knarr.engine.networks.network import Network

Filters = Mapping[str, Sequence[str]]
Test = Callable[["Network"], bool]
KEYS = ("dangling", "driver", "id", "label", "name", "scope", "type")
PRUNE_KEYS = ("label", "label!", "until")


def _check_keys(filters: Filters, known: Sequence[str]) -> None:
    for name in filters:
        if name not in known:
            raise InvalidArgument(f"invalid filter '{name}'")


def compiled(filters: Filters) -> Test:
    """Return the test that a network passes when it meets every filter.

    Values of one filter are alternatives, but for labels. Raises InvalidArgument.
    """
    _check_keys(filters, KEYS)
    dangling = _dangling(filters.get("dangling", ()))
    for kind in filters.get("type", ()):
        if kind not in ("builtin", "custom"):
            raise InvalidArgument(f"invalid filter: 'type'='{kind}'")

    def test(network: Network) -> bool:
        built_in = network.definition.predefined
        own: dict[str, Callable[[str], bool]] = {
            "driver": lambda value: value == network.driver,
            "id": lambda value: _meets(value, network.id),
            "name": lambda value: _meets(value, network.name),
            "scope": lambda value: value == "local",
            "type": lambda value: (value == "builtin") == built_in,
        }
        if not all(
            any(meets(value) for value in filters[name])
            for name, meets in own.items()
            if filters.get(name)
        ):
            return False
        if not all(labels.meets(network.labels, value) for value in filters.get("label", ())):
            return False
        return dangling is None or dangling == (not built_in and not network.active())

    return test


def _meets(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return pattern in text


def _dangling(values: Sequence[str]) -> bool | None:
    if not values:
        return None
    if len(values) > 1:
        raise InvalidArgument('got more than one value for filter key "dangling"')
    if values[0] not in ("0", "false", "1", "true"):
        raise InvalidArgument(
            'invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")'
        )
    return values[0] in ("1", "true")


def compiled_prune(filters: Filters) -> Test:
    """Return the test for networks that are to go. Raises InvalidArgument."""
    _check_keys(filters, PRUNE_KEYS)
    untils = filters.get("until", ())
    if len(untils) > 1:
        raise InvalidArgument("more than one until filter specified")
    limit = times.until(untils[0]).timestamp() * 1e9 if untils else None

    def test(network: Network) -> bool:
        if limit is not None and network.created > limit:
            return False
        own = network.labels
        return all(labels.meets(own, each) for each in filters.get("label", ())) and not any(
            labels.meets(own, each) for each in filters.get("label!", ())
        )

    return test
