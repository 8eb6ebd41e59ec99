"""What the control groups of this machine can do, found by the files that they have.

A kernel leaves out the files of what it was built or booted without. The root group lacks
those that mean nothing for a whole machine, so a group below is looked at as well.
"""

import os

from knarr.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# A field of linux.resources -> its controller and files, of which one suffices.
_V1 = {
    "memory.limit": ("memory", ("memory.limit_in_bytes",)),
    "memory.swap": ("memory", ("memory.memsw.limit_in_bytes",)),
    "memory.reservation": ("memory", ("memory.soft_limit_in_bytes",)),
    "memory.swappiness": ("memory", ("memory.swappiness",)),
    "memory.disableOOMKiller": ("memory", ("memory.oom_control",)),
    "cpu.shares": ("cpu", ("cpu.shares",)),
    "cpu.quota": ("cpu", ("cpu.cfs_quota_us",)),
    "cpu.cpus": ("cpuset", ("cpuset.cpus",)),
    "pids.limit": ("pids", ("pids.max",)),
    "blockIO.weight": ("blkio", ("blkio.bfq.weight", "blkio.weight")),
    "blockIO.weightDevice": ("blkio", ("blkio.bfq.weight_device", "blkio.weight_device")),
    "blockIO.throttleReadBpsDevice": ("blkio", ("blkio.throttle.read_bps_device",)),
    "blockIO.throttleWriteBpsDevice": ("blkio", ("blkio.throttle.write_bps_device",)),
    "blockIO.throttleReadIOPSDevice": ("blkio", ("blkio.throttle.read_iops_device",)),
    "blockIO.throttleWriteIOPSDevice": ("blkio", ("blkio.throttle.write_iops_device",)),
}
_V2 = {
    "memory.limit": ("memory", ("memory.max",)),
    "memory.swap": ("memory", ("memory.swap.max",)),
    "memory.reservation": ("memory", ("memory.low",)),
    "cpu.shares": ("cpu", ("cpu.weight",)),
    "cpu.quota": ("cpu", ("cpu.max",)),
    "cpu.cpus": ("cpuset", ("cpuset.cpus",)),
    "pids.limit": ("pids", ("pids.max",)),
    "blockIO.weight": ("io", ("io.bfq.weight", "io.weight")),
    "blockIO.weightDevice": ("io", ("io.bfq.weight", "io.weight")),
    "blockIO.throttleReadBpsDevice": ("io", ("io.max",)),
    "blockIO.throttleWriteBpsDevice": ("io", ("io.max",)),
    "blockIO.throttleReadIOPSDevice": ("io", ("io.max",)),
    "blockIO.throttleWriteIOPSDevice": ("io", ("io.max",)),
}
# A file that every group has in which a controller of v2 is switched on.
_SIGNS = {
    "memory": "memory.current", "cpu": "cpu.weight", "cpuset": "cpuset.cpus.effective",
    "pids": "pids.current", "io": "io.stat",
}  # fmt: skip


def lacking_v1(controllers: dict[str, str], fields: "Iterable[str]") -> list[str]:
    """Return the fields that machines with v1 lack; controllers: the mount point of each."""
    return [field for field in fields if not _v1(field, controllers)]


def lacking_v2(root: str, fields: "Iterable[str]") -> list[str]:
    """Return the fields that the v2 hierarchy mounted at ``root`` lacks."""
    there = files.read(f"{root}/cgroup.controllers").split()
    return [field for field in fields if not _v2(field, root, there)]


def _v1(field: str, controllers: dict[str, str]) -> bool:
    controller, names = _V1[field]
    mount_point = controllers.get(controller)
    if mount_point is None:
        return False
    return _has(mount_point, names, "cgroup.procs")


def _v2(field: str, root: str, controllers: list[str]) -> bool:
    if field not in _V2 or _V2[field][0] not in controllers:
        return False
    controller, names = _V2[field]
    return _has(root, names, _SIGNS[controller])


def _has(root: str, names: tuple[str, ...], sign: str) -> bool:
    """Return whether a group has one of the files; True where there is no group to look at.

    sign: a file of groups that would have them, other than the root group.
    """
    if any(os.access(f"{root}/{name}", os.F_OK) for name in names):
        return True
    for group in _below(root):
        if os.access(f"{group}/{sign}", os.F_OK):
            return any(os.access(f"{group}/{name}", os.F_OK) for name in names)
    return True


def _below(root: str) -> "Iterator[str]":
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.path
