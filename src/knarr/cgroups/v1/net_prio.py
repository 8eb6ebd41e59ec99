"""Priority of a group's packets on each interface: net_prio.ifpriomap."""

from knarr.cgroups import files, values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from knarr.cgroups.files import Write

CONTROLLER = "net_prio"
apply = files.carry_out


def plan(resources: "Mapping[str, Any]") -> "list[Write]":
    """Return one write for each interface in ``network.priorities``; ValueError if bad."""
    network = values.section(resources, "network")
    writes = []
    for index, entry in enumerate(values.items(network, "network.", "priorities")):
        where = f"network.priorities[{index}]."
        name = values.text(entry, where, "name")
        priority = values.integer(entry, where, "priority", low=0, high=2**32 - 1)
        if name is None or " " in name or priority is None:
            raise ValueError(f"{where[:-1]}: needs a name and a priority")
        writes.append(("net_prio.ifpriomap", f"{name} {priority}", "network.priorities"))
    return writes
