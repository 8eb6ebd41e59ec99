"""The merged view of the layers below: what overlayfs would show at a path.

Applying a layer needs it for three things: parents that the archive does not
name get the attributes they have below, symlinks below are followed (inside
the root), and hard links may name files below.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from knarr.snapshots.whiteouts import is_opaque, is_whiteout

if TYPE_CHECKING:
    from collections.abc import Sequence


class Found(NamedTuple):
    """Where a path is: its status, and its place relative to a descriptor."""

    status: os.stat_result
    base: int
    place: bytes


class Below(NamedTuple):
    """A layer's root directory: a path, b"." perhaps, relative to a descriptor."""

    base: int
    place: bytes


class Lowers:
    """Layers stacked on each other, topmost first. The descriptors stay the caller's.

    Layers do not change, so a component once seen to be a real directory
    stays one: longer paths may go through it with no fear of symlinks.
    """

    def __init__(self, layers: Sequence[Below]) -> None:
        self._layers = tuple(layers)
        # Visible directories, and the layers that contribute to each.
        self._stacks: dict[bytes, tuple[int, ...]] = {b"": tuple(range(len(self._layers)))}

    def __bool__(self) -> bool:
        return bool(self._layers)

    def find(self, path: bytes) -> Found | None:
        """Return what is visible at a clean path without symlinks in its parents, or None."""
        if not self._layers:
            return None
        if not path:
            base, place = self._layers[0]
            return Found(os.stat(place, dir_fd=base), base, place)
        stack = self._directory(path.rpartition(b"/")[0])
        return self._top(path, stack)

    def names(self, path: bytes) -> set[bytes]:
        """Return the names visible in a directory; empty when it is none."""
        visible: set[bytes] = set()
        hidden: set[bytes] = set()
        for index in self._directory(path):
            base = self._layers[index].base
            fd = os.open(self._place(index, path), os.O_RDONLY | os.O_DIRECTORY, dir_fd=base)
            try:
                for name in map(os.fsencode, os.listdir(fd)):
                    if name in visible or name in hidden:
                        continue
                    whiteout = is_whiteout(os.stat(name, dir_fd=fd, follow_symlinks=False))
                    (hidden if whiteout else visible).add(name)
            finally:
                os.close(fd)
        return visible

    def readlink(self, found: Found) -> bytes:
        """Return the target of a symlink that ``find`` found."""
        return os.readlink(found.place, dir_fd=found.base)

    def _place(self, index: int, path: bytes) -> bytes:
        place = self._layers[index].place
        return place + b"/" + path if path else place

    def _lstat(self, index: int, path: bytes) -> os.stat_result | None:
        try:
            return os.stat(
                self._place(index, path), dir_fd=self._layers[index].base, follow_symlinks=False
            )
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _top(self, path: bytes, stack: Sequence[int]) -> Found | None:
        for index in stack:
            status = self._lstat(index, path)
            if status is not None:
                if is_whiteout(status):
                    return None
                return Found(status, self._layers[index].base, self._place(index, path))
        return None

    def _directory(self, path: bytes) -> tuple[int, ...]:
        """Return the layers that contribute to a visible directory, () when it is none."""
        known = self._stacks.get(path)
        if known is not None:
            return known
        done = b""
        for part in path.split(b"/"):
            above = self._stacks[done]
            done = done + b"/" + part if done else part
            if done not in self._stacks:
                self._stacks[done] = self._merge(done, above)
        return self._stacks[path]

    def _merge(self, path: bytes, above: Sequence[int]) -> tuple[int, ...]:
        merged: list[int] = []
        for index in above:
            status = self._lstat(index, path)
            if status is None:
                continue
            if not stat.S_ISDIR(status.st_mode):
                break  # a whiteout or a file: nothing below it shows
            merged.append(index)
            base = self._layers[index].base
            if is_opaque(b"/proc/self/fd/%d/%s" % (base, self._place(index, path))):
                break
        return tuple(merged)
