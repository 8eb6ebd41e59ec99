"""A container and a command in it as they usually are, for the launcher to begin with."""

from knarr.kernel.namespaces import CLONE_NEWUSER
from knarr.runtime import rehearsal
from knarr.runtime.plan import plan
from knarr.runtime.steps.base import Circumstances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CAPABILITIES = ["CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"]
_PROCESS: "dict[str, Any]" = {
    "terminal": False,
    "user": {"uid": 0, "gid": 0, "x-knarr-name": ""},
    "args": ["true"],
    "env": ["PATH=/usr/bin:/bin"],
    "cwd": "/",
    "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
    "oomScoreAdj": 0,
}
_MAPPING = [{"containerID": 0, "hostID": 65536, "size": 65536}]
_QUIET = ["nosuid", "noexec", "nodev"]
_SPEC: "dict[str, Any]" = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs", "readonly": False},
    "process": _PROCESS,
    "hostname": "usual",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": _QUIET},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": _QUIET},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_QUIET, "ro"]},
        {"destination": "/etc/hosts", "type": "bind", "source": "/", "options": ["rbind", "idmap"]},
    ],
    "linux": {
        "namespaces": [
            {"type": kind} for kind in ("user", "mount", "network", "uts", "pid", "ipc", "cgroup")
        ],
        "resources": {},
        "devices": [],
        "rootfsPropagation": "private",
        "uidMappings": _MAPPING,
        "gidMappings": _MAPPING,
        "sysctl": {"net.ipv4.ping_group_range": "0 65535"},
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
    },
}
_STDIO = (10, 11, 12)


def rehearse() -> None:
    """Keep the blocks of what is usual. Raises what the rehearsals raise."""
    seen = Circumstances(_STDIO, filtered=True, directories=(False,), entrances=1)
    rehearsal.rehearse(plan(_SPEC), seen)
    rehearsal.rehearse_exec(_PROCESS, {}, CLONE_NEWUSER, Circumstances(_STDIO, filtered=True))
