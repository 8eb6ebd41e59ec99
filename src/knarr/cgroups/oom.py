"""Being told when the kernel runs out of a group's memory, without asking again and again."""

import errno
import os

from knarr.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.cgroups.protocol import Group


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
