"""net_cls and net_prio, which cgroup v2 does not have (nftables matches on the group itself)."""

from knarr.cgroups import files, values
from knarr.cgroups.errors import UnsupportedResource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from knarr.cgroups.files import Write

CONTROLLER = "network"
apply = files.carry_out


def plan(resources: "Mapping[str, Any]") -> "list[Write]":
    """Return no writes; UnsupportedResource when ``network`` asks for something."""
    network = values.section(resources, "network")
    for name in ("classID", "priorities"):
        if network.get(name):
            raise UnsupportedResource(f"network.{name}", "only cgroup v1 has it")
    return []
