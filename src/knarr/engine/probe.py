"""A running container under observation: what ``stats`` reads of it, again and again.

The control group's files and the network namespace's list of interfaces are opened once. That
list, /proc/PID/net/dev, is of the process's namespace for whoever reads it: nobody has to enter.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from knarr.cgroups import live
from knarr.engine import host
from knarr.engine.pause import running_group

if TYPE_CHECKING:
    from knarr.engine.paths import Paths
    from knarr.engine.state import ContainerState

FILES = live.FILES + 1  # as many descriptors a probe keeps open at most


class Reading(NamedTuple):
    """What was read at one moment, in ns and bytes; None is not known on this machine.

    cpu_percent: of one processor, since the reading before.
    """

    cpu_percent: float | None
    cpu_total: int | None
    memory: int | None
    memory_limit: int | None
    network: tuple[int, int] | None
    block: tuple[int, int] | None
    pids: int | None


class Probe:
    """The open files of one running container; close it. keep: hold them open between readings.

    Raises FileNotFoundError when the container has ended, OSError when it cannot be read.
    """

    __slots__ = ("_before", "_interfaces", "_meter")

    def __init__(self, paths: Paths, state: ContainerState, keep: bool = True) -> None:
        self._meter = live.Meter(running_group(paths), keep)
        try:
            self._interfaces = _Interfaces(state.pid, keep)
        except BaseException:  # also a signal's: nobody could close the meter
            self._meter.close()
            raise
        if not host.is_alive(state.pid, state.start_time):
            self.close()  # its number may be another's by now
            raise FileNotFoundError(2, "has ended", paths.state)
        # Before its start it has used nothing: the first reading is of its whole life.
        self._before = time.monotonic_ns() - _age(state), 0

    def read(self) -> Reading | None:
        """Return what it uses, None when it has ended. Raises OSError."""
        now = time.monotonic_ns()
        found = self._meter.read()
        if found is None:
            return None
        used = found["cpu_total"]
        percent = None if used is None else self._percent(now, used)
        network = self._interfaces.read()
        reads, writes = found["io_read_bytes"], found["io_write_bytes"]
        return Reading(
            percent, used, _without_cache(found["memory_current"], found["memory_inactive_file"]),
            found["memory_limit"], network,
            None if reads is None or writes is None else (reads, writes), found["pids_current"],
        )  # fmt: skip

    def _percent(self, now: int, used: int) -> float:
        """Return how busy it was since the reading before, in percent of one processor.

        As Docker: use over time, times processors, where time is that of all processors. It
        adds that up from the ticks of /proc/stat; the clock has it to the nanosecond.
        """
        moment, before = self._before
        self._before = now, used
        return max(used - before, 0) * 100 / max(now - moment, 1)

    def close(self) -> None:
        """Let go of the descriptors; twice is no error."""
        self._meter.close()
        self._interfaces.close()


def _age(state: ContainerState) -> int:
    """Return how long a container has run (ns), by a clock that nobody sets."""
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return max(time.clock_gettime_ns(time.CLOCK_BOOTTIME) - state.start_time * tick, tick)


def _without_cache(used: int | None, inactive: int | None) -> int | None:
    """Return the memory in use as Docker counts it: without the page cache that lies idle."""
    if used is None or inactive is None or inactive >= used:
        return used
    return used - inactive


class _Interfaces:
    """The network interfaces of a process. Those of the host are nobody's, as with Docker."""

    __slots__ = ("_fd", "_here", "_path")

    def __init__(self, pid: int, keep: bool) -> None:
        self._path = f"/proc/{pid}/net/dev"
        self._fd = -1
        namespace = f"/proc/{pid}/ns/net"
        self._here = os.stat(namespace).st_ino == os.stat("/proc/self/ns/net").st_ino
        if keep and not self._here:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> tuple[int, int] | None:
        """Return the bytes received and sent; None when the process has ended. OSError."""
        if self._here:
            return 0, 0
        if self._fd >= 0:
            return transferred(_whole(self._fd))
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            return None
        try:
            return transferred(_whole(fd))
        finally:
            os.close(fd)

    def close(self) -> None:
        """Let go of the descriptor, which keeps the namespace."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _whole(fd: int) -> bytes:
    """Return a file of the network, of which one read has some lines only."""
    data = b""
    while part := os.pread(fd, 65536, len(data)):
        data += part
    return data


def transferred(listed: bytes) -> tuple[int, int]:
    """Return the bytes received and sent by all interfaces but lo (proc_pid_net(5), ``dev``)."""
    received = sent = 0
    for line in listed.splitlines()[2:]:
        name, _, rest = line.partition(b":")
        columns = rest.split()
        if name.strip() != b"lo" and len(columns) > 8:
            received += int(columns[0])
            sent += int(columns[8])
    return received, sent
