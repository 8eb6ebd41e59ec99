"""Memory and swap (kernel Documentation/admin-guide/cgroup-v1/memory.rst)."""

import errno

from knarr.cgroups import files, processes, values
from knarr.cgroups.errors import UnsupportedResource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from knarr.cgroups.accounting import Figure
    from knarr.cgroups.files import Write

CONTROLLER = "memory"
LIMIT, BOTH = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
# The kernel shows "no limit" as the greatest number of whole pages.
NO_LIMIT = 2**62


def plan(resources: "Mapping[str, Any]") -> "list[Write]":
    """Return the writes for ``memory`` of linux.resources; ValueError for bad values.

    ``kernel`` is ignored: current kernels count kernel memory as memory and refuse the file.
    """
    memory = values.section(resources, "memory")
    if not memory:
        return []
    limit = values.integer(memory, "memory.", "limit")
    swap = values.integer(memory, "memory.", "swap")
    if limit and swap and limit > 0 and 0 < swap < limit:
        raise ValueError(f"memory.swap: {swap} is below memory.limit {limit}")
    writes = []
    for name, file, value in (
        ("limit", LIMIT, limit),
        ("swap", BOTH, swap),
        ("reservation", "memory.soft_limit_in_bytes", None),
        ("kernelTCP", "memory.kmem.tcp.limit_in_bytes", None),
    ):
        if number := value or values.integer(memory, "memory.", name):
            writes.append((file, str(max(number, -1)), f"memory.{name}"))
    swappiness = values.integer(memory, "memory.", "swappiness", low=0, high=200)
    if swappiness is not None:
        writes.append(("memory.swappiness", str(swappiness), "memory.swappiness"))
    disable = values.boolean(memory, "memory.", "disableOOMKiller")
    if disable is not None:
        writes.append(("memory.oom_control", str(int(disable)), "memory.disableOOMKiller"))
    values.boolean(
        memory, "memory.", "checkBeforeUpdate"
    )  # of an update; a wrong one is wrong here
    if values.boolean(memory, "memory.", "useHierarchy") is False:
        raise UnsupportedResource("memory.useHierarchy", "current kernels are always hierarchical")
    return writes


def apply(directory: str, writes: "Iterable[Write]", update: bool = False) -> None:
    """Carry out the writes; raises as ``files.carry_out``.

    Memory may never exceed memory plus swap: the limit goes first, which is right for
    a new group and for lowering; when the kernel refuses that, the other order is the
    one for raising. A limit that becomes unlimited takes the other one along.
    """
    todo = list(writes)
    limit = next((one for one in todo if one[0] == LIMIT), None)
    if limit is None:
        _swap_alone(directory, todo)
        files.carry_out(directory, todo)
        return
    try:
        files.carry_out(directory, (limit,))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise _too_small(directory, limit) from None
        if error.errno != errno.EINVAL or not update:
            raise
        _raise_both(directory, limit, todo)
    files.carry_out(directory, (one for one in todo if one is not limit))


def _raise_both(directory: str, limit: "Write", todo: "list[Write]") -> None:
    both = next((one for one in todo if one[0] == BOTH), None)
    if both is None and limit[1] == "-1":
        both = (BOTH, "-1", "memory.limit")
    if both is None:
        swap = files.read_int(f"{directory}/{BOTH}")
        raise OSError(
            errno.EINVAL,
            f"memory.limit cannot be set to {limit[1]}: memory.swap is {swap}, raise it as well",
            f"{directory}/{LIMIT}",
        )
    files.carry_out(directory, (both, limit))


def _swap_alone(directory: str, todo: "list[Write]") -> None:
    """Refuse, in words, memory plus swap below the memory limit that is set."""
    swap = next((int(value) for name, value, _ in todo if name == BOTH), -1)
    limit = files.read_int(f"{directory}/{LIMIT}") if swap > 0 else None
    if limit is None or limit <= swap:
        return
    if limit >= NO_LIMIT:
        raise ValueError("memory.swap: needs memory.limit, since it counts both together")
    raise ValueError(f"memory.swap: {swap} is below memory.limit {limit}")


def _too_small(directory: str, limit: "Write") -> OSError:
    used = files.read_int(f"{directory}/memory.usage_in_bytes")
    text = f"memory.limit cannot be set to {limit[1]}: {used} bytes are in use"
    return OSError(errno.EBUSY, text, f"{directory}/{LIMIT}")


FIGURES: "tuple[Figure, ...]" = (
    ("memory_current", "memory.usage_in_bytes", None, 1),
    ("memory_peak", "memory.max_usage_in_bytes", None, 1),
    ("memory_oom_kills", "memory.oom_control", b"oom_kill ", 1),
)


def more(directory: str, detail: bool = False) -> dict[str, int | None]:
    """Return the limit in bytes; ``detail`` adds swap and parts of memory.stat."""
    limit = files.read_int(f"{directory}/{LIMIT}")
    found = {"limit": None if limit is None or limit >= NO_LIMIT else limit}
    if detail:
        parts = files.read_keyed(f"{directory}/memory.stat")
        found["swap"] = parts.get("total_swap")
        found["anon"] = parts.get("total_rss")
        found["file"] = parts.get("total_cache")
        found["inactive_file"] = parts.get("total_inactive_file")
    return found


def oom_kills(directory: str) -> int | None:
    """Return how many processes the OOM killer ended in the group and below; None if unknown.

    v1 counts each victim in its own group only, so groups made by the container count too.
    """
    found = [
        files.read_keyed(f"{one}/memory.oom_control").get("oom_kill")
        for one in processes.tree(directory)
    ]
    known = [number for number in found if number is not None]
    return sum(known) if known else None
