"""Being told when the kernel runs out of a group's memory, without asking again and again."""

import errno
import os
import time

from knarr.cgroups import files, manager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.cgroups.protocol import Group

_EVENT = 8  # bytes, of an eventfd
_LIMIT = 4096
# After how long (s) the count is looked at again that follows the kernel's word: the process
# that is about to kill may have to wait for a processor. Each time twice as long, up to a limit.
_MOMENT, _LONGEST = 0.001, 2.0


def watch(group: "Group") -> int:
    """Return a descriptor that wakes ``epoll``, -1 where the kernel has none.

    With v1 an eventfd, which is readable when processes of the group wait for memory or are
    about to be killed (memory.rst, "OOM Control"); with v2 the file ``memory.events``, which
    has EPOLLPRI after every change until it is read (cgroup-v2.rst). Raises OSError.
    """
    paths = group.paths
    if "memory" in paths:
        return _eventfd(paths["memory"])
    if "unified" not in paths:
        return -1
    try:
        return os.open(f"{paths['unified']}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1  # the controller is off


def _eventfd(directory: str) -> int:
    control = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
    try:
        told = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            files.write(f"{directory}/cgroup.event_control", f"{told} {control}")
        except OSError as error:
            os.close(told)
            if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):  # built without, or for real time
                return -1
            raise
    finally:
        os.close(control)
    return told


class Watch:
    """What ``watch`` returned, which is closed with it, and ``note``, called when one is killed.

    is_event: an eventfd. It tells, often, that memory is wanted that there is not: before a
    process is killed for it, and while that one dies; so the count of kills says what has
    happened. fresh: the container was started now. told: ``note`` was called.
    kills: in the group so far. moment: of the monotonic clock, when to look again,
    0 for not at all. Raises OSError.
    """

    __slots__ = ("_group", "_manager", "_pause", "fd", "is_event", "kills", "moment", "told")

    def __init__(self, fd: int, manager: str, group: str, *, fresh: bool) -> None:
        self.fd, self._manager, self._group = fd, manager, group
        self.told = False
        self.moment = self._pause = 0.0
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
        self._pause = _MOMENT / 2
        self._again()
        if self.moment and not self.told and self._figure(b"oom_kill_disable "):
            self._note()  # they wait instead

    def patience(self, other: float | None) -> float | None:
        """Return for how many seconds to wait for ``fd``; other: what it would be without us."""
        if not self.moment:
            return other
        left = max(0.0, self.moment - time.monotonic())
        return left if other is None else min(left, other)

    def look_if_due(self) -> bool:
        """Look once more whether somebody was killed, if it is time to; return whether it was."""
        if not 0 < self.moment <= time.monotonic():
            return False
        self._again()
        return True

    def _again(self) -> None:
        self._pause *= 2
        over = self._look() or self._pause > _LONGEST
        self.moment = 0.0 if over else time.monotonic() + self._pause

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

    def note(self) -> None:
        """Do what is to be done when a process was killed, or has to wait for memory."""

    def _note(self) -> None:
        self.note()
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
            group = manager.detect(self._manager).open(self._group)
            control = f"{group.paths['memory']}/memory.oom_control"
            file = os.open(control, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(file, _LIMIT)
            finally:
                os.close(file)
        except (KeyError, OSError):
            return b""
