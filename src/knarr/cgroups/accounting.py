"""What a group used in all: one pass over few files, for the end of a container.

Who reads it is a supervisor, a small fork in which nothing of this has run before: each
further function or object that it touches is a page to be copied, 3 us. So the controllers
say as data where their figures are, and one loop reads them.
"""

import os

from knarr.cgroups.files import MISSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from knarr.cgroups.protocol import Stats, Usage

    Figures = dict[str, int | None]
    # Key in ``Usage``, file, word, factor: the figure is the sum of all numbers that follow
    # the word (None: the file is one number), times the factor.
    Figure = tuple[str, str, bytes | None, int]
    # The same with a mount point before the file, which starts with "/".
    Account = tuple[str, str, str, bytes | None, int]


KEYS = (
    "cpu_total", "cpu_user", "cpu_system",
    "memory_current", "memory_peak", "memory_oom_kills",
    "io_read_bytes", "io_write_bytes", "io_read_ops", "io_write_ops",
    "pids_peak",
)  # fmt: skip


def accounts(mount_point: str, figures: "Iterable[Figure]") -> "list[Account]":
    """Return where a controller's figures are; a mount point of "" goes with directories."""
    return [(key, mount_point, "/" + name, word, factor) for key, name, word, factor in figures]


def value(text: bytes, word: "bytes | None", factor: int) -> int:
    """Return the figure that a control file's text has; see ``Figure`` for word and factor."""
    if word is None:
        return int(text)
    total = 0
    for part in text.split(word)[1:]:
        total += int(part.split(None, 1)[0])
    return total * factor


def usage(where: "Iterable[Account]", path: str) -> "Usage":
    """Return the figures of a path, None for what is not there; OSError if unreadable."""
    found: Usage = {}
    last, text = "", None
    for key, mount_point, name, word, factor in where:
        if name != last:
            last, text = name, None
            try:
                fd = os.open(mount_point + path + name, os.O_RDONLY)
                try:
                    # The kernel has each of these texts ready in one piece.
                    text = os.read(fd, 16384)
                finally:
                    os.close(fd)
            except OSError as error:
                if error.errno not in MISSING:
                    raise
        found[key] = None if text is None else value(text, word, factor)
    return found


def stats(used: "Usage", cpu: "Figures", memory: "Figures", pids: "Figures") -> "Stats":
    """Return what ``Group.stats`` does: the figures of usage and more for three controllers."""
    found: Stats = {"cpu": cpu, "memory": memory, "io": {}, "pids": pids}
    for key, value in used.items():
        section, _, name = key.partition("_")
        found[section][f"{name}_ns" if section == "cpu" else name] = value
    return found
