"""What a group uses now, read again and again by somebody who watches it.

Its files stay open: a reading is one pread(2) for each, half of what it costs to find and
open them as well. Not on the start path; ``accounting`` is what reads once, when a container ends.
"""

import errno
import os

from knarr.cgroups.accounting import value
from knarr.cgroups.files import MISSING
from knarr.cgroups.v1.io import SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from knarr.cgroups.accounting import Figure, Figures
    from knarr.cgroups.protocol import Group

# cpu_total is in ns, memory_* and io_* in bytes; memory_limit is None without one. CPU time is
# the first, so that a caller who looks at a clock before reading has the time it belongs to.
KEYS = (
    "cpu_total", "memory_current", "memory_inactive_file", "memory_limit",
    "io_read_bytes", "io_write_bytes", "pids_current",
)  # fmt: skip
FILES = 6  # as many descriptors a meter keeps open at most
NO_LIMIT = 2**62  # v1 shows the greatest number of whole pages, v2 "max"

# (controller of v1, its figures there, its figures on v2), in the order of KEYS
_PIDS: "tuple[Figure, ...]" = (("pids_current", "pids.current", None, 1),)
_PLACES: "tuple[tuple[str, tuple[Figure, ...], tuple[Figure, ...]], ...]" = (
    (
        "cpuacct",
        (("cpu_total", "cpuacct.usage", None, 1),),
        (("cpu_total", "cpu.stat", b"usage_usec ", 1000),),
    ),
    (
        "memory",
        (
            ("memory_current", "memory.usage_in_bytes", None, 1),
            ("memory_inactive_file", "memory.stat", b"total_inactive_file ", 1),
            ("memory_limit", "memory.limit_in_bytes", None, 1),
        ),
        (
            ("memory_current", "memory.current", None, 1),
            ("memory_inactive_file", "memory.stat", b"inactive_file ", 1),
            ("memory_limit", "memory.max", None, 1),
        ),
    ),
    (
        "blkio",
        (("io_read_bytes", SIZE, b" Read ", 1), ("io_write_bytes", SIZE, b" Write ", 1)),
        (("io_read_bytes", "io.stat", b"rbytes=", 1), ("io_write_bytes", "io.stat", b"wbytes=", 1)),
    ),
    ("pids", _PIDS, _PIDS),
)


class Meter:
    """Reads what a group uses; close it. keep: hold the files open between readings.

    Raises FileNotFoundError when the group is gone, OSError when it cannot be read.
    """

    __slots__ = ("_files",)

    def __init__(self, group: "Group", keep: bool = True) -> None:
        self._files: list[_File] = []
        paths = group.paths
        try:
            for controller, v1, v2 in _PLACES:
                figures = v1 if controller in paths else v2
                directory = paths.get(controller, paths.get("unified"))
                if directory is not None:
                    self._open(directory, figures, keep)
        except BaseException:  # also a signal's: nobody could close what is open so far
            self.close()
            raise
        if paths and not self._files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), group.path)

    def _open(self, directory: str, figures: "Sequence[Figure]", keep: bool) -> None:
        for name in dict.fromkeys(figure[1] for figure in figures):
            wanted = [figure for figure in figures if figure[1] == name]
            try:
                self._files.append(_File(f"{directory}/{name}", wanted, keep))
            except OSError as error:
                if error.errno not in MISSING:
                    raise  # else what this controller counts is not known here

    def read(self) -> "Figures | None":
        """Return the figures of KEYS, None for what is not accounted; None alone for a group
        that is gone. OSError when it cannot be read.
        """
        found: Figures = dict.fromkeys(KEYS)
        try:
            for file in self._files:
                file.read(found)
        except OSError as error:
            if error.errno not in MISSING:
                raise
            return None
        limit = found["memory_limit"]
        if limit is not None and limit >= NO_LIMIT:
            found["memory_limit"] = None
        return found

    def close(self) -> None:
        """Let go of the descriptors; twice is no error."""
        while self._files:
            self._files.pop().close()


class _File:
    """One control file and the figures in it."""

    __slots__ = ("_fd", "_figures", "_path")

    def __init__(self, path: str, figures: "Sequence[Figure]", keep: bool) -> None:
        self._path = path
        self._figures = figures
        fd = os.open(path, os.O_RDONLY)
        self._fd = fd if keep else -1
        if not keep:
            os.close(fd)

    def read(self, found: "Figures") -> None:
        """Put the figures into ``found``; OSError, of ``MISSING`` when the group is gone."""
        fd = os.open(self._path, os.O_RDONLY) if self._fd < 0 else self._fd
        try:
            # The kernel has each of these texts ready in one piece.
            text = os.pread(fd, 16384, 0)
        finally:
            if self._fd < 0:
                os.close(fd)
        for key, _, word, factor in self._figures:
            if word is not None or not text.startswith(b"max"):
                found[key] = value(text, word, factor)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
