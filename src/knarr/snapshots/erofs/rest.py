"""Contents that the tar does not have in one piece: sparse files, files of lower layers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from knarr.snapshots.erofs import format as disk
from knarr.snapshots.erofs.limits import CannotIndex

if TYPE_CHECKING:
    from collections.abc import Iterable


class Rest:
    """A file of such contents, one after the other, each from the start of a block.

    It is made when it is first needed. Holes stay holes.
    """

    def __init__(self, directory: int, name: str) -> None:
        self._directory = directory
        self._name = name
        self._fd = -1
        self.blocks = 0

    def add(self, size: int, stretches: Iterable[tuple[int, memoryview]]) -> int:
        """Store contents of size bytes and return the block where they begin.

        Raises CannotIndex when that is more than an image can address, OSError.
        """
        first, count = self.blocks, (size + disk.BLOCK - 1) // disk.BLOCK
        if first + count > disk.MAX_BLOCK:
            raise CannotIndex("sparse files of 2 TiB and more")
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(self._name, flags, 0o600, dir_fd=self._directory)
        start = first * disk.BLOCK
        for offset, piece in stretches:
            done = 0
            while done < len(piece):
                done += os.pwrite(self._fd, piece[done:], start + offset + done)
        self.blocks += count
        os.ftruncate(self._fd, self.blocks * disk.BLOCK)
        return first

    def close(self) -> None:
        """Close the file, which has to be synced by the caller."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
