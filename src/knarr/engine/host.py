"""Facts of the running machine: its boot id, our capabilities, start times of processes."""

from __future__ import annotations

import functools
import os

from knarr.spec.capabilities import ALL_MASK


@functools.cache
def boot_id() -> str:
    """Return the id of this boot (random(4), /proc/sys/kernel/random/boot_id)."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def capabilities() -> int:
    """Return the capabilities that this process can pass on, as a mask (CapBnd).

    Source: proc_pid_status(5).
    """
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"CapBnd:"):
                return int(line.split()[1], 16)
    return ALL_MASK


def start_time(pid: int) -> int | None:
    """Return when process ``pid`` started, in clock ticks since boot; None when it is gone.

    Together with the pid this names a process for good (proc(5), stat field 22).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None  # ended, only not yet reaped
    return int(fields[19])


def own_identity() -> tuple[int, int]:
    """Return this process's pid and start time."""
    pid = os.getpid()
    return pid, _start_of(pid)


@functools.cache
def _start_of(pid: int) -> int:
    """The start time of this very process: keyed by pid, since a fork changes both."""
    return start_time(pid) or 0


def is_alive(pid: int, started: int) -> bool:
    """Return True when the process of that pid is still the one that started then."""
    return start_time(pid) == started
