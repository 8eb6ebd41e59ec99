"""Finding out which control groups this machine has."""

import os

from knarr.cgroups import files, mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.cgroups.protocol import Manager

__all__ = ["detect"]

KINDS = ("auto", "cgroupfs", "systemd", "systemd-user", "none")
SYSTEMD_RUNS = "/run/systemd/system"
_found: "dict[str, Manager]" = {}


def detect(kind: str = "auto") -> "Manager":
    """Return the manager for this machine; it is made once in a process.

    kind: ``auto`` takes systemd where it is pid 1 and cgroup v2 is the only hierarchy,
    else cgroupfs; ``cgroupfs``, ``systemd`` and ``none`` ask for one, and ``systemd-user`` for
    the systemd of this process's user. The modules that
    the manager needs are imported here, so that processes forked later have them.
    Raises ValueError for another kind, OSError when the machine has no such control groups.
    """
    if kind not in KINDS:
        raise ValueError(f"cgroup manager {kind!r} is none of {', '.join(KINDS)}")
    if kind not in _found:
        found = _found[kind] = _detect(kind)
        if kind == "auto":
            _found.setdefault("systemd" if found.name == "systemd" else "cgroupfs", found)
    return _found[kind]


def _detect(kind: str) -> "Manager":
    if kind == "none":
        from knarr.cgroups import none

        return none.Manager()
    hierarchies = mounts.parse(files.read("/proc/self/mountinfo"))
    if not hierarchies:
        text = "no cgroup file system is mounted (mount -t cgroup2 none /sys/fs/cgroup)"
        raise FileNotFoundError(2, text, "/proc/self/mountinfo")
    systemd_runs = os.path.isdir(SYSTEMD_RUNS)
    pure = all(one.version == 2 for one in hierarchies)
    if kind.startswith("systemd") and not (systemd_runs and pure):
        reason = "cgroup v2 alone" if systemd_runs else "systemd as pid 1"
        raise OSError(95, f"cgroup manager systemd needs {reason}; use cgroupfs", SYSTEMD_RUNS)
    if kind == "systemd-user":
        return _of_user(hierarchies[0].mount_point)
    if not pure:
        from knarr.cgroups.v1 import manager as v1

        return v1.Manager(hierarchies, join_unified=systemd_runs)
    if systemd_runs and kind != "cgroupfs":
        from knarr.cgroups import systemd

        return systemd.Manager(hierarchies[0].mount_point)
    from knarr.cgroups.v2 import manager as v2

    return v2.Manager(hierarchies[0].mount_point)


def _of_user(mount_point: str) -> "Manager":
    from knarr.cgroups import systemd

    instance = systemd.Instance(outer_uid())
    if not os.path.isdir(mount_point + instance.base):
        text = "the user has no systemd of his own (loginctl enable-linger); use cgroupfs"
        raise FileNotFoundError(2, text, mount_point + instance.base)
    return systemd.Manager(mount_point, instance)


def outer_uid() -> int:
    """Return this process's user as those outside its user namespace know him."""
    own = os.geteuid()
    with open("/proc/self/uid_map") as file:
        for line in file:
            inside, outside, size = map(int, line.split())
            if inside <= own < inside + size:
                return outside + own - inside
    return own
