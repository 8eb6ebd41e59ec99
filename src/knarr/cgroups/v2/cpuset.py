"""Processors and memory nodes a group may use: cpuset.cpus, cpuset.mems."""

from knarr.cgroups import convert, files, values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from knarr.cgroups.files import Write

CONTROLLER = "cpuset"
apply = files.carry_out


def plan(resources: "Mapping[str, Any]") -> "list[Write]":
    """Return the writes for ``cpu.cpus`` and ``cpu.mems``; ValueError for a malformed list."""
    cpu = values.section(resources, "cpu")
    writes = []
    for name in ("cpus", "mems"):
        if value := values.text(cpu, "cpu.", name):
            try:
                convert.parse_list(value)
            except ValueError as error:
                raise ValueError(f"cpu.{name}: {error}") from None
            writes.append((f"cpuset.{name}", value, f"cpu.{name}"))
    return writes
