"""CPU time: controllers cpu (limits) and cpuacct (accounting).

Kernel Documentation/scheduler/sched-bwc.rst, sched-rt-group.rst, admin-guide/cgroup-v1/cpuacct.rst.
"""

import errno

from knarr.cgroups import files, values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from knarr.cgroups.files import Write

CONTROLLER = "cpu"


def plan(resources: "Mapping[str, Any]") -> "list[Write]":
    """Return the writes for ``cpu`` of linux.resources; ValueError for bad values."""
    cpu = values.section(resources, "cpu")
    if not cpu:
        return []
    writes = []
    idle = values.integer(cpu, "cpu.", "idle", low=0, high=1)
    shares = values.integer(cpu, "cpu.", "shares", low=0)
    if idle is not None:
        writes.append(("cpu.idle", str(idle), "cpu.idle"))
    if shares and not idle:
        # An idle group refuses shares.
        writes.append(("cpu.shares", str(shares), "cpu.shares"))
    for name, file in (
        ("realtimePeriod", "cpu.rt_period_us"),
        ("realtimeRuntime", "cpu.rt_runtime_us"),
        ("period", "cpu.cfs_period_us"),
        ("quota", "cpu.cfs_quota_us"),
    ):
        if value := values.integer(cpu, "cpu.", name):
            writes.append((file, str(value), f"cpu.{name}"))
    burst = values.integer(cpu, "cpu.", "burst", low=0)
    if burst is not None:
        writes.append(("cpu.cfs_burst_us", str(burst), "cpu.burst"))
    return writes


def apply(directory: str, writes: "Iterable[Write]", update: bool = False) -> None:
    """Carry out the writes; raises as ``files.carry_out``.

    What the kernel refuses as inconsistent with what is set is tried once more after
    the others.
    """
    del update
    later = []
    for write in writes:
        try:
            files.carry_out(directory, (write,))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            later.append(write)
    if later:
        files.carry_out(directory, later)


def stats(cpu: str | None, cpuacct: str | None) -> dict[str, int | None]:
    """Return CPU time in nanoseconds and throttling from the two directories.

    The split in user and system is sampled at ticks (4 ms), the total exact: the split
    is scaled to the total, as the kernel does for ps(1).
    """
    found: dict[str, int | None] = dict.fromkeys(
        ("total_ns", "user_ns", "system_ns", "periods", "throttled_periods", "throttled_ns")
    )
    if cpuacct is not None:
        total = files.read_int(f"{cpuacct}/cpuacct.usage")
        user = files.read_int(f"{cpuacct}/cpuacct.usage_user")
        system = files.read_int(f"{cpuacct}/cpuacct.usage_sys")
        found["total_ns"] = total
        if total is not None and user is not None and system is not None:
            in_user = total * user // (user + system) if user + system else total
            found["user_ns"], found["system_ns"] = in_user, total - in_user
    if cpu is not None:
        throttling = files.read_keyed(f"{cpu}/cpu.stat")
        found["periods"] = throttling.get("nr_periods")
        found["throttled_periods"] = throttling.get("nr_throttled")
        found["throttled_ns"] = throttling.get("throttled_time")
    return found
