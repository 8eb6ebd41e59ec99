"""Bind mounts as descriptors: the host's paths are opened here, once, in the caller's own view."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from knarr.errors import InvalidArgument
from knarr.kernel import mounts

if TYPE_CHECKING:
    from knarr.engine.model import BindMount
    from knarr.engine.policy.check import CheckBind

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


def open_binds(
    wanted: Sequence[Bind], binds: Sequence[BindMount], allowed: CheckBind | None = None
) -> dict[int, int]:
    """Return place in the spec -> descriptor of a detached clone, for every bind mount.

    The caller closes them. binds: of the configuration; a missing host path is created
    for ``-v`` as Docker does. allowed: called with what was really opened of those, and whether it
    is read-only. Raises InvalidArgument for one that does not exist, what ``allowed`` raises,
    OSError else.
    """
    created = {bind.source for bind in binds if bind.create_source}
    read_only = {bind.source: True for bind in binds}
    read_only |= {bind.source: False for bind in binds if not bind.read_only}
    opened: dict[int, int] = {}
    try:
        for bind in wanted:
            if allowed is None or bind.source not in read_only:
                opened[bind.place] = _open(bind, created)
            else:
                opened[bind.place] = _open_allowed(bind, created, allowed, read_only[bind.source])
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


def _open_allowed(
    bind: Bind,
    created: set[str],
    allowed: CheckBind,
    read_only: bool,
) -> int:
    """Open a path once, ask about where that has led, and clone just that."""
    handle = -1
    try:
        try:
            handle = os.open(bind.source, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError as error:
            if bind.source not in created:
                raise InvalidArgument(_MISSING + bind.source) from error
            allowed(os.path.realpath(bind.source), read_only)  # before anything is made there
            os.makedirs(bind.source, mode=0o755, exist_ok=True)
            handle = os.open(bind.source, os.O_PATH | os.O_CLOEXEC)
        allowed(os.readlink(f"/proc/self/fd/{handle}"), read_only)
        flags = mounts.OPEN_TREE_CLONE | mounts.AT_EMPTY_PATH
        return mounts.open_tree(handle, "", flags | (mounts.AT_RECURSIVE * bind.recursive))
    finally:
        if handle >= 0:
            os.close(handle)
