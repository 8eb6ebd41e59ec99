"""``--cap-add``, ``--cap-drop`` and ``--privileged`` become one list of capabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.errors import InvalidArgument
from knarr.spec import capabilities

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALL = "ALL"


def normalize(names: Iterable[str], available: int = capabilities.ALL_MASK) -> list[str]:
    """Return ``names`` in upper case and with their ``CAP_`` prefix; ``ALL`` stays.

    ``available`` is the mask of those this process could pass on (its bounding set).
    Raises InvalidArgument for an unknown or unavailable name, with Docker's text.
    """
    result = []
    for given in names:
        name = given.upper()
        if name != _ALL:
            name = name if name.startswith("CAP_") else "CAP_" + name
            number = capabilities.NUMBERS.get(name)
            if number is None:
                raise InvalidArgument(f'unknown capability: "{name}"')
            if not available >> number & 1:
                raise InvalidArgument(
                    "capability not supported by your kernel or not available in the current"
                    f' environment: "{name}"'
                )
        result.append(name)
    return result


def effective(
    add: Iterable[str] = (),
    drop: Iterable[str] = (),
    *,
    privileged: bool = False,
    available: int = capabilities.ALL_MASK,
) -> list[str]:
    """Return the names of the container's capabilities, without duplicates.

    The rules are Docker's: privileged takes all there are; ``--cap-add ALL`` all but the
    dropped; ``--cap-drop ALL`` only the added; otherwise defaults minus dropped plus added
    (an added one wins over the same one dropped). Raises InvalidArgument as `normalize`.
    """
    everything = capabilities.from_mask(available & capabilities.ALL_MASK)
    if privileged:
        return everything
    added, dropped = normalize(add, available), normalize(drop)
    if _ALL in added:
        return [name for name in everything if name not in dropped]
    kept = [] if _ALL in dropped else [n for n in capabilities.DEFAULT if n not in dropped]
    return list(dict.fromkeys(kept + added))
