"""``events``: what a container uses, and that it ran out of memory, as lines of JSON.

The form is that of runc (its types/events.go), which containerd's old shim and cadvisor read.
"""

import gc
import math
import os
import select
import time

from knarr.cgroups import oom
from knarr.cgroups.report import report
from knarr.kernel import plainjson
from knarr.oci.control import check_grouped
from knarr.oci.errors import UsageError, not_running
from knarr.oci.state import Container
from knarr.spec import quantity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OUTPUT = 1


def interval_of(text: str) -> int:
    """Return the ns of ``--interval``; raises UsageError."""
    found = quantity.nanoseconds(text)
    if not found:
        raise UsageError(f"--interval: {text!r} is not a time greater than 0 such as 5s")
    return found


def once(container: Container) -> None:
    """Write what a container uses now. Raises Conflict when it has ended, OSError."""
    _check(container)
    _tell_stats(container, container.group())


def follow(container: Container, interval: int) -> None:
    """Write what a container uses each ``interval`` ns, and kills when they happen.

    Returns when the container has ended, or nobody reads any more. Raises as ``once``.
    """
    gc.enable()  # it may go on for days
    _check(container)
    pidfd = container.process()
    if pidfd < 0:
        not_running(container.name, "stopped")
    watch = None
    try:
        group = container.group()
        fd = oom.watch(group)
        if fd >= 0:
            where = container.values["cgroup"]
            watch = _Watch(container.name, fd, where["manager"], where["path"], fresh=False)
        _follow(container, group, interval, pidfd, watch)
    except BrokenPipeError:
        return
    finally:
        if watch is not None:
            watch.close()
        os.close(pidfd)


def _check(container: Container) -> None:
    status = container.status()
    if status in ("stopped", "creating"):
        not_running(container.name, status)
    check_grouped(container, "events")


def _follow(
    container: Container, group: "Any", interval: int, pidfd: int, watch: "_Watch | None"
) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(_OUTPUT, 0)  # POLLERR: nobody reads any more
    if watch is not None:
        poll.register(watch.fd, select.POLLIN if watch.is_event else select.POLLPRI)
    due = time.monotonic_ns() + interval
    while True:
        left = max(due - time.monotonic_ns(), 0) / 1e9
        if watch is not None:
            left = watch.patience(left) or 0.0
        # Rounded up: a wait that ends too early would be one for nothing.
        ready = dict(poll.poll(math.ceil(left * 1000)))
        if watch is not None:
            watch.look_if_due()
            if watch.fd in ready:
                watch.turn()
        if pidfd in ready or _OUTPUT in ready:
            return
        if time.monotonic_ns() >= due:
            try:
                _tell_stats(container, group)
            except FileNotFoundError:
                return  # it was removed just now
            due = max(due + interval, time.monotonic_ns())


class _Watch(oom.Watch):
    """A watch that writes a line for each time that somebody was killed. name: the container's."""

    __slots__ = ("_name",)

    def __init__(self, name: str, fd: int, manager: str, group: str, *, fresh: bool) -> None:
        self._name = name
        super().__init__(fd, manager, group, fresh=fresh)

    def note(self) -> None:
        """Write the line. Raises BrokenPipeError when nobody reads any more."""
        _write({"type": "oom", "id": self._name})


def _tell_stats(container: Container, group: "Any") -> None:
    # runc knows nothing of networks either, when it is called from a command line.
    data = report(group) | {"intel_rdt": _shares(container), "network_interfaces": None}
    _write({"type": "stats", "id": container.name, "data": data})


def _shares(container: Container) -> "dict[str, Any]":
    """Return shares of caches and bandwidth, and what is measured, of one that has a group."""
    tasks = container.values.get("resctrl", {}).get("tasks")
    if not tasks:
        return {}
    from knarr.oci import resctrl

    # The last is that of monitoring, if there is one.
    return resctrl.told(resctrl.root(), *(os.path.dirname(one) for one in (tasks[0], tasks[-1])))


def _write(event: "dict[str, Any]") -> None:
    data = memoryview(plainjson.dumps(event, separators=(",", ":")).encode() + b"\n")
    while data:
        data = data[os.write(_OUTPUT, data) :]
