"""RDMA handles and objects: rdma.max, the same file in v1 and v2."""

from knarr.cgroups import files, values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from knarr.cgroups.files import Write

CONTROLLER = "rdma"
apply = files.carry_out


def plan(resources: "Mapping[str, Any]") -> "list[Write]":
    """Return one write for each device in ``rdma``; ValueError for bad values."""
    writes = []
    devices = values.section(resources, "rdma")
    for name in devices:
        where = f"rdma.{name}."
        if not name or any(letter.isspace() for letter in name):
            raise ValueError(f"rdma: {name!r} is not a device name")
        limits = values.section(devices, name, "rdma.")
        handles = values.integer(limits, where, "hcaHandles", low=0, high=2**32 - 1)
        objects = values.integer(limits, where, "hcaObjects", low=0, high=2**32 - 1)
        words = [name]
        if handles is not None:
            words.append(f"hca_handle={handles}")
        if objects is not None:
            words.append(f"hca_object={objects}")
        if len(words) == 1:
            raise ValueError(f"rdma.{name}: needs hcaHandles or hcaObjects")
        writes.append(("rdma.max", " ".join(words), f"rdma.{name}"))
    return writes
