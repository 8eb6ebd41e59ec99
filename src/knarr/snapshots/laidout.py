"""What a layer has become on disk, between the drivers that make and use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from knarr.snapshots.apply import Applied


class Root(NamedTuple):
    """The root directory of a layer: permission bits, owner, time, attributes."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: dict[bytes, bytes]

    def to_list(self) -> list[Any]:
        """Return it for JSON."""
        xattrs = {name.decode("latin-1"): value.hex() for name, value in self.xattrs.items()}
        return [self.mode, self.uid, self.gid, self.mtime_ns, xattrs]

    @classmethod
    def from_list(cls, value: list[Any]) -> Root:
        """Return what ``to_list`` described."""
        mode, uid, gid, mtime_ns, xattrs = value
        named = {name.encode("latin-1"): bytes.fromhex(data) for name, data in xattrs.items()}
        return cls(mode, uid, gid, mtime_ns, named)


class Made(NamedTuple):
    """A layer that was laid out: what it brought; for an image its root and its files' names."""

    applied: Applied
    root: list[Any] | None = None
    files: tuple[str, ...] = ()
