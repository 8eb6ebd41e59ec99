"""Bind mounts as descriptors: the host's paths are opened here, once, in the caller's own view."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from knarr.errors import InvalidArgument
from knarr.kernel import mounts

if TYPE_CHECKING:
    from knarr.engine.model import BindMount

_RECURSIVE = ("rbind",)


def open_binds(
    spec_mounts: Sequence[Mapping[str, Any]], binds: Sequence[BindMount]
) -> dict[int, int]:
    """Return index in the spec -> descriptor of a detached clone, for every bind mount.

    The caller closes them. A missing host path is created for ``-v`` as Docker
    does. Raises InvalidArgument for one that does not exist, OSError else.
    """
    created = {bind.source for bind in binds if bind.create_source}
    opened: dict[int, int] = {}
    try:
        for index, entry in enumerate(spec_mounts):
            if entry.get("type") == "bind":
                opened[index] = _open(entry, created)
    except BaseException:
        for handle in opened.values():
            os.close(handle)
        raise
    return opened


def _open(entry: Mapping[str, Any], created: set[str]) -> int:
    source = entry["source"]
    flags = mounts.OPEN_TREE_CLONE
    if any(option in _RECURSIVE for option in entry.get("options") or ()):
        flags |= mounts.AT_RECURSIVE
    try:
        return mounts.open_tree(mounts.AT_FDCWD, source, flags)
    except FileNotFoundError as error:
        if source not in created:
            raise InvalidArgument(
                f'invalid mount config for type "bind": bind source path does not exist: {source}'
            ) from error
    os.makedirs(source, mode=0o755, exist_ok=True)
    return mounts.open_tree(mounts.AT_FDCWD, source, flags)
