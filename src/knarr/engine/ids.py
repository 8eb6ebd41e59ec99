"""Identities: container ids, and the range of 65,536 user ids that each container gets.

A range is a slot number. Slots are handed out in turn by a counter in the
database and held by a UNIQUE constraint, so two containers of one data root
never share a range, and a range is not used again until all others were.
docs/design/engine.md argues the figures.
"""

from __future__ import annotations

import hashlib
import os

RANGE_SIZE = 65536
FIRST_ID = 0x2000_0000
LAST_ID = 0x6FFF_FFFF  # ids above 2**31 are negative to old programs; systemd keeps 0x70000000 on
SLOTS = (LAST_ID + 1 - FIRST_ID) // RANGE_SIZE

_SUBID_FILES = ("/etc/subuid", "/etc/subgid")


def new_container_id() -> str:
    """Return a new random container id of 64 hexadecimal digits."""
    while True:
        value = os.urandom(32).hex()
        # All digits would read as a number, in the short form too.
        if not value[:12].isdigit():
            return value


class RangePlan:
    """Which host ids a slot stands for, for one data root.

    The first slot is moved by a hash of the data root's path, so that several
    data roots on one machine (tests, a second installation) seldom meet.
    """

    __slots__ = ("_reserved", "offset")

    def __init__(self, data_root: str, subid_files: tuple[str, ...] = _SUBID_FILES) -> None:
        digest = hashlib.sha256(os.fsencode(os.path.abspath(data_root))).digest()
        self.offset = int.from_bytes(digest[:4], "big") % SLOTS
        self._reserved = _reserved_slots(subid_files)

    def first_id(self, slot: int) -> int:
        """Return the host id that is 0 inside a container that holds ``slot``."""
        return FIRST_ID + ((self.offset + slot) % SLOTS) * RANGE_SIZE

    def allowed(self, slot: int) -> bool:
        """Return False when the slot's range meets an entry of /etc/subuid or /etc/subgid."""
        return (self.offset + slot) % SLOTS not in self._reserved


def _reserved_slots(files: tuple[str, ...]) -> frozenset[int]:
    """Return the absolute slots that subordinate id entries (subuid(5)) touch."""
    slots: set[int] = set()
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="replace") as lines:
                entries = [line.split(":") for line in lines]
        except OSError:
            continue  # no such file, or not ours to read: nothing is reserved there
        for entry in entries:
            if len(entry) != 3 or not all(part.strip().isdigit() for part in entry[1:]):
                continue
            start, count = int(entry[1]), int(entry[2])
            low = max(start, FIRST_ID)
            high = min(start + count - 1, LAST_ID)
            if count and low <= high:
                first = (low - FIRST_ID) // RANGE_SIZE
                slots.update(range(first, (high - FIRST_ID) // RANGE_SIZE + 1))
    return frozenset(slots)
