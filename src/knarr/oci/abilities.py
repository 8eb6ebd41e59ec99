"""What this runtime can do, as JSON for ``features``, and a configuration for ``spec``. Pure."""

from knarr.kernel.namespaces import NAMESPACES
from knarr.oci.document import HOOKS
from knarr.runtime.mountopts import known
from knarr.runtime.seccomp import arches, model
from knarr.runtime.settings import MEMORY_FLAGS, MEMORY_MODES
from knarr.spec.capabilities import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION_LEAST, VERSION_MOST = "1.0.0", "1.3.0"
_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_MASKED = ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
           "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
           "/proc/scsi"]  # fmt: skip
_READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
_MOUNTS = (
    ("/proc", "proc", "proc", ()),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", "devpts",
     ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    ("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
    ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro")),
)  # fmt: skip


def every_feature() -> "dict[str, Any]":
    """Return what is supported, whatever the machine (runtime-spec features-linux.md)."""
    return {
        "ociVersionMin": VERSION_LEAST,
        "ociVersionMax": VERSION_MOST,
        "hooks": list(HOOKS),
        "mountOptions": known(),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(NAMES),
            "cgroup": {
                "v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True,
            },
            "seccomp": {
                "enabled": True,
                "actions": sorted(model.ACTIONS),
                "operators": sorted(model.OPERATORS),
                "archs": sorted(arches.ARCHES),
                "knownFlags": sorted(model.FLAGS),
                "supportedFlags": sorted(model.FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {"modes": list(MEMORY_MODES), "flags": list(MEMORY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
    }  # fmt: skip


def default_config() -> "dict[str, Any]":
    """Return a configuration for a shell in ``rootfs``, with little that it may do."""
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup")
    sets = ("bounding", "effective", "permitted")
    return {
        "ociVersion": VERSION_MOST,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(_CAPABILITIES) for name in sets},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "knarr",
        "mounts": [
            {"destination": place, "type": kind, "source": source}
            | ({"options": list(options)} if options else {})
            for place, kind, source, options in _MOUNTS
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READONLY),
        },
    }  # fmt: skip


_SYS = {
    "destination": "/sys",
    "type": "none",
    "source": "/sys",
    "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
}


def without_root(config: "dict[str, Any]", uid: int, gid: int) -> "dict[str, Any]":
    """Return a configuration as a user without root can run it, with the ids of that user.

    A user namespace with one id, in which he is root; the network is the host's, so that sysfs
    can only be shown as it is there; no ids of others in mounts; no limits.
    """
    linux = {key: value for key, value in config["linux"].items() if key != "resources"}
    kinds = [entry for entry in linux["namespaces"] if entry["type"] not in ("network", "user")]
    mounts = []
    for mount in config["mounts"]:
        options = mount.get("options") or ()
        kept = [one for one in options if not one.startswith(("uid=", "gid="))]
        changed = mount | {"options": kept} if options else mount
        mounts.append(dict(_SYS) if mount["destination"] == "/sys" else changed)
    linux["namespaces"] = [*kinds, {"type": "user"}]
    for field, own in (("uidMappings", uid), ("gidMappings", gid)):
        linux[field] = [{"containerID": 0, "hostID": own, "size": 1}]
    return config | {"mounts": mounts, "linux": linux}
