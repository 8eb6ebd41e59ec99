"""``unified`` of linux.resources on v1: only what lies in the v2 part of a hybrid machine."""

from knarr.cgroups.errors import UnsupportedResource
from knarr.cgroups.v2 import unified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from knarr.cgroups.files import Write


def plan(resources: "Mapping[str, Any]", available: "Collection[str]") -> "list[Write]":
    """Return the writes; UnsupportedResource for a controller that v2 does not have here."""
    writes = unified.plan(resources)
    for name in unified.controllers(writes):
        if name not in available:
            field = next(field for file, _, field in writes if file.startswith(f"{name}."))
            raise UnsupportedResource(field, f"controller {name} is not on cgroup v2 here")
    return writes
