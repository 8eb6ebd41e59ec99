"""``--volumes-from``: the bind mounts of other containers, taken over when one is created."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from knarr.errors import InvalidArgument

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import BindMount, ContainerConfig

_MODES = frozenset({"ro", "rw"})
_LABELS = frozenset({"z", "Z"})


def parse(text: str) -> tuple[str, bool]:
    """Return the container and whether its mounts become read-only. Raises InvalidArgument."""
    if not text:
        raise InvalidArgument("volumes-from specification cannot be an empty string")
    name, _, mode = text.partition(":")
    words = mode.split(",") if mode else []
    kinds = [len([word for word in words if word in kind]) for kind in (_MODES, _LABELS)]
    if sum(kinds) != len(words) or max(kinds) > 1:
        raise InvalidArgument(f"invalid mode: {mode}")
    return name, "ro" in words


def resolved(engine: Engine, config: ContainerConfig) -> ContainerConfig:
    """Return the configuration with the others' bind mounts in it; its own come before them.

    Of several at one place the last named container's counts. Raises NotFound, InvalidArgument.
    """
    if any(bind.inherited for bind in config.binds):
        return config  # done before: it is another container's configuration
    own = {bind.target for bind in config.binds} | {tmpfs.target for tmpfs in config.tmpfs}
    found: dict[str, BindMount] = {}
    for text in config.volumes_from:
        name, read_only = parse(text)
        for bind in engine.table.find(name).config.binds:
            if bind.target not in own:
                found[bind.target] = replace(
                    bind, read_only=bind.read_only or read_only, inherited=True
                )
    return replace(config, binds=(*config.binds, *found.values()))
