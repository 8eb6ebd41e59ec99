"""Huge pages: hugetlb.SIZE.max and hugetlb.SIZE.rsvd.max."""

from knarr.cgroups import files, values
from knarr.cgroups.errors import UnsupportedResource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from knarr.cgroups.files import Write

CONTROLLER = "hugetlb"


def plan(resources: "Mapping[str, Any]", suffix: str = "max") -> "list[Write]":
    """Return the writes for ``hugepageLimits``; ValueError for bad values.

    Each limit goes to reserved and to faulted pages: only the limit on reservations
    lets mmap(2) fail; the other one alone ends in SIGBUS.
    """
    writes = []
    for index, entry in enumerate(values.items(resources, "", "hugepageLimits")):
        where = f"hugepageLimits[{index}]."
        size = values.text(entry, where, "pageSize") or ""
        if size[:-2] == "" or not size[:-2].isdecimal() or size[-2:] not in ("KB", "MB", "GB"):
            raise ValueError(f"{where}pageSize: {size!r} is not a size such as 2MB")
        limit = values.integer(entry, where, "limit", low=0, high=2**64 - 1)
        if limit is None:
            raise ValueError(f"{where}limit: a number of bytes is needed")
        writes.append((f"hugetlb.{size}.{suffix}", str(limit), f"hugepageLimits {size}"))
        writes.append((f"hugetlb.{size}.rsvd.{suffix}", str(limit), f"hugepageLimits {size}"))
    return writes


def apply(directory: str, writes: "Iterable[Write]", update: bool = False) -> None:
    """Carry out the writes; raises as ``files.carry_out``.

    The files for reservations came with kernel 5.7; without them the other one is all there is.
    """
    del update
    for write in writes:
        try:
            files.carry_out(directory, (write,))
        except UnsupportedResource:
            if ".rsvd." not in write[0]:
                raise
