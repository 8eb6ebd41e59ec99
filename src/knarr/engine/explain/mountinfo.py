"""The mounts of a process (proc_pid_mountinfo(5)) as values. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from knarr.cgroups.mounts import unescape

if TYPE_CHECKING:
    from collections.abc import Iterator


class Mounted(NamedTuple):
    """One mount. root: which part of its file system is seen; options: of this mount;
    settings: of the file system; propagation: ``shared:N``, ``master:N`` …, empty for private.
    """

    number: int
    device: str
    root: str
    destination: str
    options: tuple[str, ...]
    propagation: tuple[str, ...]
    type: str
    source: str
    settings: tuple[str, ...]


def parse(text: str) -> Iterator[Mounted]:
    """Yield the mounts of a mountinfo text, in the order in which they were made."""
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, last = left.split(" "), right.split(" ")
        if not separator or len(fields) < 6 or len(last) < 3:
            continue
        yield Mounted(
            int(fields[0]), fields[2], unescape(fields[3]), unescape(fields[4]),
            tuple(fields[5].split(",")), tuple(fields[6:]),
            last[0], unescape(last[1]), tuple(unescape(last[2]).split(",")),
        )  # fmt: skip
