"""CPU time: cpu.weight, cpu.max, cpu.max.burst, cpu.idle (kernel cgroup-v2.rst, "CPU")."""

import errno

from knarr.cgroups import convert, files, values
from knarr.cgroups.errors import UnsupportedResource

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
    for name in ("realtimeRuntime", "realtimePeriod"):
        if values.integer(cpu, "cpu.", name, low=-1):
            raise UnsupportedResource(f"cpu.{name}", "cgroup v2 has no real-time limits")
    shares = values.integer(cpu, "cpu.", "shares", low=0)
    quota = values.integer(cpu, "cpu.", "quota")
    period = values.integer(cpu, "cpu.", "period", low=0)
    burst = values.integer(cpu, "cpu.", "burst", low=0)
    idle = values.integer(cpu, "cpu.", "idle", low=0, high=1)
    writes = []
    if idle is not None:
        writes.append(("cpu.idle", str(idle), "cpu.idle"))
    if shares and not idle:
        # An idle group refuses a weight.
        writes.append(("cpu.weight", str(convert.shares_to_weight(shares)), "cpu.shares"))
    if limit := convert.cpu_max(quota, period):
        writes.append(("cpu.max", limit, "cpu.quota" if quota else "cpu.period"))
    if burst is not None:
        writes.append(("cpu.max.burst", str(burst), "cpu.burst"))
    return writes


def complete(directory: str, resources: "Mapping[str, Any]") -> "Mapping[str, Any]":
    """Return resources with the quota that is set when an update names a period alone."""
    cpu = values.section(resources, "cpu")
    if not values.integer(cpu, "cpu.", "period", low=0) or cpu.get("quota"):
        return resources
    quota = files.read(f"{directory}/cpu.max").split()[0]
    return resources if quota == "max" else {**resources, "cpu": {**cpu, "quota": int(quota)}}


def apply(directory: str, writes: "Iterable[Write]", update: bool = False) -> None:
    """Carry out the writes; raises as ``files.carry_out``.

    Burst may not exceed the quota at any moment, so which of both goes first depends on
    what is set already: when the kernel refuses one order the other is tried.
    """
    del update
    todo = list(writes)
    try:
        files.carry_out(directory, todo)
    except OSError as error:
        names = [name for name, _, _ in todo]
        if error.errno != errno.EINVAL or "cpu.max.burst" not in names or "cpu.max" not in names:
            raise
        files.carry_out(directory, reversed(todo))


# cpu.stat is there without the controller as well.
FIGURES: "tuple[Figure, ...]" = (
    ("cpu_total", "cpu.stat", b"usage_usec ", 1000),
    ("cpu_user", "cpu.stat", b"user_usec ", 1000),
    ("cpu_system", "cpu.stat", b"system_usec ", 1000),
)


def more(directory: str) -> dict[str, int | None]:
    """Return how often and how long a group waited for its quota."""
    found = files.read_keyed(f"{directory}/cpu.stat")
    waited = found.get("throttled_usec")
    return {
        "periods": found.get("nr_periods"),
        "throttled_periods": found.get("nr_throttled"),
        "throttled_ns": None if waited is None else waited * 1000,
    }
