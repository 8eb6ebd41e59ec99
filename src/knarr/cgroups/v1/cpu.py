"""CPU time: controllers cpu (limits) and cpuacct (accounting).

Kernel Documentation/scheduler/sched-bwc.rst, sched-rt-group.rst, admin-guide/cgroup-v1/cpuacct.rst.
"""

import errno

from knarr.cgroups import files, values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from knarr.cgroups.accounting import Figure
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


FIGURES: "tuple[Figure, ...]" = (
    ("cpu_total", "cpuacct.usage", None, 1),
    ("cpu_user", "cpuacct.usage_user", None, 1),
    ("cpu_system", "cpuacct.usage_sys", None, 1),
)


def more(directory: str) -> dict[str, int | None]:
    """Return how often and how long a group waited for its quota, from a directory of cpu."""
    found = files.read_keyed(f"{directory}/cpu.stat")
    return {
        "periods": found.get("nr_periods"),
        "throttled_periods": found.get("nr_throttled"),
        "throttled_ns": found.get("throttled_time"),
    }
