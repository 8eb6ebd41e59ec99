"""Options that several drivers have, under Docker's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.errors import InvalidArgument

if TYPE_CHECKING:
    from knarr.networks.definition import Definition

MTU = "com.docker.network.driver.mtu"
PREFIX = "com.docker.network.container_iface_prefix"
_MTU_LIMIT = 65535


def mtu(network: Definition) -> int | None:
    """Return the size of the largest packet in bytes, None for the kernel's usual."""
    text = network.options.get(MTU)
    if text is None:
        return None
    try:
        size = int(text)
    except ValueError:
        raise InvalidArgument(
            f'failed to parse {MTU} value: {text} (strconv.Atoi: parsing "{text}": invalid syntax)'
        ) from None
    if not 0 <= size <= _MTU_LIMIT or 0 < size < 68:
        raise InvalidArgument(f"invalid MTU number: {size}")
    return size or None
