"""Which field of config.json a failure comes from: a step is named by what asked for it."""

from knarr.runtime.copyup import CopiedTmpfs
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.madenode import MadeDevice
from knarr.runtime.steps import devices, identity, mounts, paths
from knarr.runtime.steps.cgroups import CgroupMount, JoinCgroups
from knarr.runtime.steps.remount import Remount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.runtime.steps.base import Step

_MOUNTS = (mounts.NewMount, mounts.BindMount, CgroupMount, CopiedTmpfs, Remount)
_FIELDS: "dict[type[Step], str]" = {
    mounts.PrivateTree: "linux.rootfsPropagation",
    mounts.AttachRoot: "root.path",
    mounts.PivotRoot: "root.path",
    mounts.MoveRoot: "root.path",
    mounts.ReadonlyRoot: "root.readonly",
    mounts.RootPropagation: "linux.rootfsPropagation",
    JoinCgroups: "linux.namespaces",
    identity.HostName: "hostname",
    identity.Loopback: "linux.namespaces",
    identity.User: "process.user",
    devices.Device: "linux.devices",
    MadeDevice: "linux.devices",
    devices.DeviceLinks: "linux.devices",
    devices.Console: "process.terminal",
    paths.Sysctl: "linux.sysctl",
    paths.MaskPaths: "linux.maskedPaths",
    paths.ReadonlyPaths: "linux.readonlyPaths",
    paths.WorkingDirectory: "process.cwd",
}
# What is done outside the program, or behind its steps.
_OTHERS = {
    "rlimits": "process.rlimits",
    "oom_score_adj": "process.oomScoreAdj",
    "uid_map": "linux.uidMappings",
    "gid_map": "linux.gidMappings",
    "cgroup": "linux.cgroupsPath",
    "label": "process.apparmorProfile",
    "prepare": "linux.namespaces",
    "start": "process",
}


def named(steps: "tuple[Step, ...]", failure: RuntimeFailure) -> RuntimeFailure:
    """Return a failure whose message begins with the field; what callers look for stays in it."""
    field = _field(steps, failure.step)
    if failure.message.startswith("selinux:"):
        field = "process.selinuxLabel"
    if not field or failure.message.startswith(field):
        return failure
    message = f"{field}: {failure.message}"
    return RuntimeFailure(failure.kind, failure.step, message, failure.errno)


def _field(steps: "tuple[Step, ...]", name: str) -> str:
    if name.startswith("sysctl "):
        return "linux.sysctl"  # one of them
    index = -1
    for step in steps:
        index += isinstance(step, _MOUNTS)
        if step.describe() == name:
            if isinstance(step, _MOUNTS):
                return f"mounts[{index}]"
            return _FIELDS.get(type(step), "")
    return _OTHERS.get(name, "")
