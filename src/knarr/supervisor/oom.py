"""Out-of-memory kills go into the journal when they happen, for containers with a memory limit.

One without a limit meets them only when the whole machine has no memory left; for that, and
where the kernel cannot tell, the event comes with the container's end.
"""

import os
import time

from knarr.cgroups import manager as cgroups
from knarr.supervisor import journal

_EVENT = 8  # bytes, of an eventfd
_LIMIT = 4096
# How often, and after how long (s), the count is looked at that follows the kernel's word.
_LOOKS, _MOMENT = 3, 0.001


class OomWatch:
    """What `cgroups.oom.watch` returned, which is closed with it.

    is_event: an eventfd. It tells, often, that memory is wanted that there is not: before a
    process is killed for it, and while that one dies; so the count of kills says what has
    happened. fresh: the container was started now. told: at least one event is in the journal.
    kills: in the group so far. Raises OSError.
    """

    __slots__ = ("_group", "_manager", "_run_dir", "fd", "is_event", "kills", "told")

    def __init__(self, run_dir: str, fd: int, manager: str, group: str, *, fresh: bool) -> None:
        self._run_dir, self.fd, self._manager, self._group = run_dir, fd, manager, group
        self.told = False
        try:
            os.pread(fd, _LIMIT, 0)
        except OSError:
            self.is_event = True  # which has no places to read at
        else:
            self.is_event = False
        # Looking at the group costs memory that a supervisor then keeps; a new one has no past.
        self.kills = 0 if fresh and self.is_event else self._figure(b"oom_kill ")

    def turn(self) -> None:
        """Note what has happened."""
        if not self.is_event:
            self._look()
            return
        try:
            os.read(self.fd, _EVENT)
        except BlockingIOError:
            return
        for _ in range(_LOOKS):
            if self._look():
                return
            time.sleep(_MOMENT)
        if not self.told and self._figure(b"oom_kill_disable "):
            self._note()  # they wait instead

    def close(self) -> None:
        """Note what happened last and let go."""
        self._look()
        os.close(self.fd)
        self.fd = -1

    def _look(self) -> bool:
        """Note what the count says; return whether it says more than before."""
        found = self._figure(b"oom_kill ")
        if found <= self.kills:  # less is that of a group that is gone
            return False
        self.kills = found
        self._note()
        return True

    def _note(self) -> None:
        journal.note(self._run_dir, b"oom")
        self.told = True

    def _figure(self, name: bytes) -> int:
        """Return a figure of the group, 0 where there is none; has a file tell the next change."""
        for line in self._text().splitlines():
            if line.startswith(name):
                return int(line[len(name) :])
        return 0

    def _text(self) -> bytes:
        """Return the file with the counts, nothing once the group is gone.

        systemd removes the group of a scope as soon as its last process has ended.
        """
        try:
            if not self.is_event:
                return os.pread(self.fd, _LIMIT, 0)
            group = cgroups.detect(self._manager).open(self._group)
            control = f"{group.paths['memory']}/memory.oom_control"
            file = os.open(control, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(file, _LIMIT)
            finally:
                os.close(file)
        except (KeyError, OSError):
            return b""
