"""Huge pages: hugetlb.SIZE.limit_in_bytes and hugetlb.SIZE.rsvd.limit_in_bytes."""

from knarr.cgroups.v2 import hugetlb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from knarr.cgroups.files import Write

CONTROLLER = "hugetlb"
apply = hugetlb.apply


def plan(resources: "Mapping[str, Any]") -> "list[Write]":
    """Return the writes for ``hugepageLimits``; ValueError for bad values."""
    return hugetlb.plan(resources, "limit_in_bytes")
