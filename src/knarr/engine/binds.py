"""Bind mounts as descriptors: the host's paths are opened here, once, in the caller's own view."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from knarr.errors import InvalidArgument
from knarr.kernel import mounts

if TYPE_CHECKING:
    from knarr.engine.model import BindMount

_RECURSIVE = "rbind"
_MISSING = 'invalid mount config for type "bind": bind source path does not exist: '


class Bind(NamedTuple):
    """One bind mount of a spec: its place there, the host's path, whether with all below it."""

    place: int
    source: str
    recursive: bool


def listed(spec_mounts: Sequence[Mapping[str, Any]]) -> list[Bind]:
    """Return the bind mounts of the host's paths among the mounts of a spec."""
    return [
        Bind(index, entry["source"], _RECURSIVE in (entry.get("options") or ()))
        for index, entry in enumerate(spec_mounts)
        if entry.get("type") == "bind" and entry["source"].startswith("/")
    ]


def check(binds: Sequence[BindMount]) -> None:
    """Raise InvalidArgument for a ``--mount`` of a path that does not exist."""
    for bind in binds:
        if bind.by_mount and not bind.inherited and not os.path.lexists(bind.source):
            raise InvalidArgument(_MISSING + bind.source)


def open_binds(wanted: Sequence[Bind], binds: Sequence[BindMount]) -> dict[int, int]:
    """Return place in the spec -> descriptor of a detached clone, for every bind mount.

    The caller closes them. binds: of the configuration; a missing host path is created
    for ``-v`` as Docker does. Raises InvalidArgument for one that does not exist, OSError else.
    """
    created = {bind.source for bind in binds if bind.create_source}
    opened: dict[int, int] = {}
    try:
        for bind in wanted:
            opened[bind.place] = _open(bind, created)
    except BaseException:  # also a signal's: nobody else knows the descriptors
        for handle in opened.values():
            os.close(handle)
        raise
    return opened


def _open(bind: Bind, created: set[str]) -> int:
    flags = mounts.OPEN_TREE_CLONE | (mounts.AT_RECURSIVE if bind.recursive else 0)
    try:
        return mounts.open_tree(mounts.AT_FDCWD, bind.source, flags)
    except FileNotFoundError as error:
        if bind.source not in created:
            raise InvalidArgument(_MISSING + bind.source) from error
    os.makedirs(bind.source, mode=0o755, exist_ok=True)
    return mounts.open_tree(mounts.AT_FDCWD, bind.source, flags)
