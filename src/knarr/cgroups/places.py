"""Where a group is, for who only enters it: without all that makes groups and limits them."""

import errno
import os

from knarr.cgroups import files, mounts


def find(path: str) -> dict[str, str]:
    """Return the directory of each controller of a group of cgroupfs (``Group.paths``).

    path: absolute, counted from the mount points. FileNotFoundError when there is no such group.
    """
    found: dict[str, str] = {}
    for one in mounts.parse(files.read("/proc/self/mountinfo")):
        directory = one.mount_point + path
        if os.access(directory, os.F_OK):
            found |= dict.fromkeys(one.controllers or ("unified",), directory)
    if not found:
        raise FileNotFoundError(errno.ENOENT, "no such cgroup in any hierarchy", path)
    return found


def unified_of(pid: int) -> str | None:
    """Return the directory of the v2 group in which a process is; None where it is in none.

    Raises OSError when it has ended.
    """
    for line in files.read(f"/proc/{pid}/cgroup").splitlines():
        if line.startswith("0::/") and "/.." not in line:
            hierarchies = mounts.parse(files.read("/proc/self/mountinfo"))
            points = [one.mount_point for one in hierarchies if one.version == 2]
            return f"{points[0]}{line[3:]}".rstrip("/") if points else None
    return None


def entrance(controller: str, directory: str) -> str:
    """Return the file into which a process writes ``0`` to move itself into a directory.

    See ``Group.entrances`` on why it is not the same one for v1.
    """
    return directory + ("/cgroup.procs" if controller == "unified" else "/tasks")
