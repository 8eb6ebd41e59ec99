"""Processors and memory nodes (kernel Documentation/admin-guide/cgroup-v1/cpusets.rst).

The files and their form are those of v2; but a group of v1 starts with neither
processors nor nodes and takes no process until it has some.
"""

import os

from knarr.cgroups import files
from knarr.cgroups.v2 import cpuset

CONTROLLER = "cpuset"
plan = cpuset.plan
apply = files.carry_out
FILES = ("cpuset.cpus", "cpuset.mems")


def fill(mount_point: str, directory: str) -> None:
    """Give a new group processors and nodes unless its parent's ``clone_children`` did.

    Without any it takes no process (ENOSPC), and a process that enters by itself cannot mend it.
    """
    for name in FILES:
        fd = os.open(f"{directory}/{name}", os.O_RDONLY)
        text = os.read(fd, 2)
        os.close(fd)
        if text in (b"", b"\n"):
            inherit(mount_point, directory)
            return


def inherit(mount_point: str, directory: str) -> None:
    """Give every group from the root down to directory the values of its parent if it has none.

    ``cgroup.clone_children`` makes the kernel do that for the groups to come.
    """
    parent = mount_point
    for part in directory[len(mount_point) :].strip("/").split("/"):
        child = f"{parent}/{part}"
        for name in FILES:
            if not files.read(f"{child}/{name}").strip():
                files.write(f"{child}/{name}", files.read(f"{parent}/{name}"))
        parent = child


def clone_children(directory: str) -> None:
    """Let groups made below directory start with its processors and nodes."""
    files.write(f"{directory}/cgroup.clone_children", "1")
