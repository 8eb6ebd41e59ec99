"""Memory and swap: memory.max, .low, .swap.max, events, peak (cgroup-v2.rst, "Memory")."""

import errno

from knarr.cgroups import convert, files, values
from knarr.cgroups.errors import UnsupportedResource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from knarr.cgroups.accounting import Figure
    from knarr.cgroups.files import Write

CONTROLLER = "memory"


def plan(resources: "Mapping[str, Any]") -> "list[Write]":
    """Return the writes for ``memory`` of linux.resources; ValueError for bad values.

    ``kernel`` is ignored (kernel memory counts as memory). Swappiness, the TCP limit and
    an OOM killer that is off exist only in v1: UnsupportedResource.
    """
    memory = values.section(resources, "memory")
    if not memory:
        return []
    _refuse_v1_only(memory)
    limit = values.integer(memory, "memory.", "limit")
    swap = values.integer(memory, "memory.", "swap")
    reservation = values.integer(memory, "memory.", "reservation")
    writes = []
    if (swap_max := convert.swap_limit(limit, swap)) is not None:
        field = "memory.swap" if swap else "memory.limit"
        writes.append(("memory.swap.max", swap_max, field))
    if limit:
        writes.append(("memory.max", convert.maximum(limit), "memory.limit"))
    if reservation:
        writes.append(("memory.low", convert.maximum(reservation), "memory.reservation"))
    return writes


def _refuse_v1_only(memory: "Mapping[str, Any]") -> None:
    reason = "cgroup v2 has no such setting"
    if values.integer(memory, "memory.", "swappiness", low=0) is not None:
        raise UnsupportedResource("memory.swappiness", reason)
    if (values.integer(memory, "memory.", "kernelTCP") or -1) > 0:
        raise UnsupportedResource("memory.kernelTCP", reason)
    if values.boolean(memory, "memory.", "disableOOMKiller"):
        raise UnsupportedResource("memory.disableOOMKiller", reason)
    values.boolean(
        memory, "memory.", "checkBeforeUpdate"
    )  # of an update; a wrong one is wrong here
    if values.boolean(memory, "memory.", "useHierarchy") is False:
        raise UnsupportedResource("memory.useHierarchy", "cgroup v2 is always hierarchical")


def apply(directory: str, writes: "Iterable[Write]", update: bool = False) -> None:
    """Carry out the writes; raises as ``files.carry_out``.

    Unlimited swap on a kernel that does not account swap is what it is anyway.
    """
    del update
    for write in writes:
        try:
            files.carry_out(directory, (write,))
        except UnsupportedResource:
            if write[:2] != ("memory.swap.max", "max"):
                raise


def complete(directory: str, resources: "Mapping[str, Any]") -> "Mapping[str, Any]":
    """Return resources with what an update leaves unsaid but the conversion needs.

    A new swap alone is counted with the memory limit that is set. Raises as ``check``.
    """
    check(f"{directory}/memory.current", resources)
    memory = values.section(resources, "memory")
    limit = values.integer(memory, "memory.", "limit")
    if not limit and (values.integer(memory, "memory.", "swap") or -1) > 0:
        current = files.read_int(f"{directory}/memory.max")
        if current is not None:
            return {**resources, "memory": {**memory, "limit": current}}
    return resources


def check(usage: str, resources: "Mapping[str, Any]") -> None:
    """Refuse a limit below what is in use when ``checkBeforeUpdate`` is on: OSError (EBUSY).

    The kernel would reclaim and in the end kill (v2), or only reclaim (v1). usage: the file
    that says what is in use.
    """
    memory = values.section(resources, "memory")
    limit = values.integer(memory, "memory.", "limit")
    if limit and limit > 0 and values.boolean(memory, "memory.", "checkBeforeUpdate"):
        used = files.read_int(usage) or 0
        if used >= limit:
            text = f"memory.limit cannot be set to {limit}: {used} bytes are in use"
            raise OSError(errno.EBUSY, text, usage)


# peak is there since kernel 5.19.
FIGURES: "tuple[Figure, ...]" = (
    ("memory_current", "memory.current", None, 1),
    ("memory_peak", "memory.peak", None, 1),
    ("memory_oom_kills", "memory.events", b"oom_kill ", 1),
)


def more(directory: str, detail: bool = False) -> dict[str, int | None]:
    """Return the limit in bytes, None without one; ``detail`` adds swap and parts of memory.stat.

    memory.stat makes the kernel sum up all processors, so it is read only on request.
    """
    found = {"limit": files.read_int(f"{directory}/memory.max")}
    if detail:
        parts = files.read_keyed(f"{directory}/memory.stat")
        found["swap"] = files.read_int(f"{directory}/memory.swap.current")
        for name in ("anon", "file", "inactive_file"):
            found[name] = parts.get(name)
    return found


def oom_kills(directory: str) -> int | None:
    """Return how many processes the OOM killer ended in the group and below; None if unknown."""
    return files.read_keyed(f"{directory}/memory.events").get("oom_kill")
