"""Block devices: controller blkio.

Kernel Documentation/admin-guide/cgroup-v1/blkio-controller.rst.
"""

import os

from knarr.cgroups import files, values
from knarr.cgroups.errors import UnsupportedResource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from knarr.cgroups.accounting import Figure
    from knarr.cgroups.files import Write

CONTROLLER = "blkio"
THROTTLES = {
    "throttleReadBpsDevice": "blkio.throttle.read_bps_device",
    "throttleWriteBpsDevice": "blkio.throttle.write_bps_device",
    "throttleReadIOPSDevice": "blkio.throttle.read_iops_device",
    "throttleWriteIOPSDevice": "blkio.throttle.write_iops_device",
}
SIZE, COUNT = "blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"
FIGURES: "tuple[Figure, ...]" = (
    ("io_read_bytes", SIZE, b" Read ", 1),
    ("io_write_bytes", SIZE, b" Write ", 1),
    ("io_read_ops", COUNT, b" Read ", 1),
    ("io_write_ops", COUNT, b" Write ", 1),
)
# Kernels before 5.0 have the weights of CFQ, later ones those of BFQ when it is there.
ALTERNATIVES = {
    "blkio.bfq.weight": "blkio.weight",
    "blkio.bfq.weight_device": "blkio.weight_device",
    "blkio.leaf_weight": "blkio.leaf_weight",
    "blkio.leaf_weight_device": "blkio.leaf_weight_device",
}


def plan(resources: "Mapping[str, Any]") -> "list[Write]":
    """Return the writes for ``blockIO``; ValueError for bad values."""
    block = values.section(resources, "blockIO")
    if not block:
        return []
    writes = []
    for name, file in (("weight", "blkio.bfq.weight"), ("leafWeight", "blkio.leaf_weight")):
        if weight := _weight(block, "blockIO.", name):
            writes.append((file, str(weight), f"blockIO.{name}"))
    for index, entry in enumerate(values.items(block, "blockIO.", "weightDevice")):
        where = f"blockIO.weightDevice[{index}]."
        number = values.device(entry, where)
        for name, file in (
            ("weight", "blkio.bfq.weight_device"),
            ("leafWeight", "blkio.leaf_weight_device"),
        ):
            if weight := _weight(entry, where, name):
                writes.append((file, f"{number} {weight}", "blockIO.weightDevice"))
    for name, file in THROTTLES.items():
        for index, entry in enumerate(values.items(block, "blockIO.", name)):
            where = f"blockIO.{name}[{index}]."
            rate = values.integer(entry, where, "rate", low=0) or 0
            writes.append((file, f"{values.device(entry, where)} {rate}", where[:-1]))
    return writes


def _weight(entry: "Mapping[str, Any]", where: str, name: str) -> int | None:
    weight = values.integer(entry, where, name, low=0, high=1000)
    if weight and weight < 10:
        raise ValueError(f"{where}{name}: {weight} is not in the range 10 to 1000")
    return weight


def apply(directory: str, writes: "Iterable[Write]", update: bool = False) -> None:
    """Carry out the writes; raises as ``files.carry_out``.

    UnsupportedResource for a weight when no I/O scheduler of this kernel has weights.
    """
    del update
    for name, value, field in writes:
        if name not in ALTERNATIVES:
            files.carry_out(directory, ((name, value, field),))
            continue
        try:
            files.carry_out(directory, ((name, value, field),))
        except UnsupportedResource:
            files.carry_out(directory, ((ALTERNATIVES[name], value, field),))


def start_accounting(group: str, disks: str = "/sys/block") -> None:
    """Make the kernel count the transfers of all disks; ends without a word when it cannot.

    Since 6.10 v1 counts nothing on a disk until somebody sets a throttle on it, in whatever
    group. "No throttle" (0) in a group of ours is enough, limits nothing, and leaves the
    machine's own groups alone.
    """
    file = f"{group}/{THROTTLES['throttleReadBpsDevice']}"
    try:
        known = files.read(f"{group}/{SIZE}")
        known += files.read(file)
        names = os.listdir(disks)
    except OSError:
        return
    for name in names:
        # Loop devices and the like have no hardware: what they move is counted below them.
        if not os.path.exists(f"{disks}/{name}/device"):
            continue
        try:
            number = files.read(f"{disks}/{name}/dev").strip()
            if f"{number} " not in known:
                files.write(file, f"{number} 0")
        except OSError:
            continue  # unplugged meanwhile, or a device that takes no throttle
