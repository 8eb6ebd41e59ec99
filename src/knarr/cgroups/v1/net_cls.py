"""Class of a group's packets for tc(8): net_cls.classid."""

from knarr.cgroups import files, values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from knarr.cgroups.files import Write

CONTROLLER = "net_cls"
apply = files.carry_out


def plan(resources: "Mapping[str, Any]") -> "list[Write]":
    """Return the write for ``network.classID``; ValueError for a bad number."""
    network = values.section(resources, "network")
    number = values.integer(network, "network.", "classID", low=0, high=2**32 - 1)
    return [("net_cls.classid", str(number), "network.classID")] if number else []
