"""Number of processes and threads: pids.max, pids.current, pids.peak."""

from knarr.cgroups import convert, files, values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from knarr.cgroups.accounting import Figure
    from knarr.cgroups.files import Write

CONTROLLER = "pids"
apply = files.carry_out


def plan(resources: "Mapping[str, Any]") -> "list[Write]":
    """Return the write for ``pids.limit``: below 0 is unlimited, 0 forbids every fork.

    That is written as 1, by which the container's process can be made inside; systemd has no 0.
    """
    limit = values.integer(values.section(resources, "pids"), "pids.", "limit", low=-(2**63))
    if limit is None:
        return []
    return [("pids.max", convert.maximum(limit or 1), "pids.limit")]


# peak is there since kernel 6.1.
FIGURES: "tuple[Figure, ...]" = (("pids_peak", "pids.peak", None, 1),)


def more(directory: str) -> dict[str, int | None]:
    """Return the number of tasks now and allowed."""
    return {
        "current": files.read_int(f"{directory}/pids.current"),
        "limit": files.read_int(f"{directory}/pids.max"),
    }
