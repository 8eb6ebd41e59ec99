"""Ids inside a container and the host's ids for them, for work on mounted trees from outside."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from knarr.errors import InvalidArgument
from knarr.kernel import process

if TYPE_CHECKING:
    from collections.abc import Iterator

_OVERFLOW = 65534  # what the kernel shows for an id without mapping (/proc/sys/kernel/overflowuid)


class IdRange(NamedTuple):
    """One line of a uid_map: first id inside, first id on the host, how many."""

    container: int
    host: int
    size: int


class IdMap(NamedTuple):
    """The uid and gid ranges of a container's user namespace."""

    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]

    def to_host(self, uid: int, gid: int) -> tuple[int, int]:
        """Return the host's ids; raises InvalidArgument for ids the container has not."""
        return _forward(self.uids, uid, "uid"), _forward(self.gids, gid, "gid")

    def to_container(self, uid: int, gid: int) -> tuple[int, int]:
        """Return the ids seen inside; 65534 for those that are not mapped."""
        return _backward(self.uids, uid), _backward(self.gids, gid)


def _forward(ranges: tuple[IdRange, ...], value: int, what: str) -> int:
    for first, host, size in ranges:
        if first <= value < first + size:
            return host + value - first
    raise InvalidArgument(f"{what} {value} does not exist in the container's user namespace")


def _backward(ranges: tuple[IdRange, ...], value: int) -> int:
    for first, host, size in ranges:
        if host <= value < host + size:
            return first + value - host
    return _OVERFLOW


@contextlib.contextmanager
def acting_as_root_of(idmap: IdMap | None) -> Iterator[None]:
    """Make files in this thread as the container's root, with all capabilities kept.

    On an idmapped tree the host's own root has no id: making a file as him
    fails with EOVERFLOW. The file-system ids are a matter of the calling
    thread alone (setfsuid(2)); securebits keep the capabilities meanwhile.
    """
    ids = idmap.to_host(0, 0) if idmap is not None else (0, 0)
    if ids == (0, 0):
        yield
        return
    process.set_securebits(process.SECBIT_NO_SETUID_FIXUP)
    try:
        process.setfsuid(*ids)
        yield
    finally:
        process.setfsuid(0, 0)
        process.set_securebits(0)
