"""``mounts[]`` of an OCI spec becomes steps. Pure. Source: runtime-spec config.md, "Mounts"."""

from knarr.kernel.mounts import MS_RDONLY
from knarr.runtime.copyup import CopiedTmpfs
from knarr.runtime.fields import SpecError, ids, required
from knarr.runtime.mountopts import MountOptions
from knarr.runtime.steps.cgroups import CgroupMount
from knarr.runtime.steps.mounts import BindMount, NewMount, SysfsMount
from knarr.runtime.steps.remount import Remount
from knarr.runtime.steps.tmpfs import LikeBelow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.runtime.entering import Maps
    from knarr.runtime.steps.base import Step


def steps(spec: "dict[str, Any]", in_userns: bool) -> "list[Step]":
    """Return a step for each mount, in order; raises SpecError naming the field."""
    linux = spec.get("linux") or {}
    return [
        _mount(f"mounts[{index}]", index, entry, in_userns, linux)
        for index, entry in enumerate(spec.get("mounts") or ())
    ]


def _is_late(destination: str, kind: str, options: MountOptions) -> bool:
    """Return whether a new mount is made read-only when all is there: nodes are made in /dev."""
    return (
        kind == "tmpfs" and _normal(destination) == "/dev" and bool(options.own_flags() & MS_RDONLY)
    )


def afterwards(spec: "dict[str, Any]") -> "list[Step]":
    """Return a step for each mount of which something is left until devices are made."""
    found: list[Step] = []
    for entry in spec.get("mounts") or ():
        options = MountOptions(entry.get("options") or [])
        if _is_late(entry["destination"], entry.get("type") or "", options):
            found.append(Remount(entry["destination"], MountOptions(["remount", "bind", "ro"])))
    return found


def id_maps(spec: "dict[str, Any]") -> "dict[int, tuple[Maps, Maps]]":
    """Return the id maps of mounts that have their own, by index; raises SpecError."""
    found = {}
    for index, entry in enumerate(spec.get("mounts") or ()):
        maps = [
            ids(entry.get(field) or (), f"mounts[{index}].{field}")
            for field in ("uidMappings", "gidMappings")
        ]
        if any(maps):
            if not all(maps):
                missing = "gidMappings" if maps[0] else "uidMappings"
                raise SpecError(f"mounts[{index}].{missing}: is missing beside the other one")
            found[index] = (maps[0], maps[1])
    return found


def ignored(spec: "dict[str, Any]") -> "tuple[str, ...]":
    """Return a warning for each bind mount with options that only a new file system could have."""
    found = []
    for index, entry in enumerate(spec.get("mounts") or ()):
        options = MountOptions(entry.get("options") or [])
        words = options.ignored() if _is_bind(entry, options) else []
        if words:
            text = "have no effect on a bind mount and are left out"
            found.append(f"mounts[{index}].options: {', '.join(words)} {text}")
    return tuple(found)


def _is_bind(entry: "dict[str, Any]", options: MountOptions) -> bool:
    return options.bind or entry.get("type") in ("bind", "none")


# The kernel labels what is in its own file systems by itself.
_UNLABELLED = ("proc", "sysfs", "cgroup", "cgroup2", "mqueue")


def _mount(
    where: str, index: int, entry: "dict[str, Any]", in_userns: bool, linux: "dict[str, Any]"
) -> "Step":
    destination = required(entry, "destination", f"{where}.")
    if not destination.startswith("/"):
        destination = "/" + destination
    options = MountOptions(entry.get("options") or [])
    kind = entry.get("type") or ""
    source = entry.get("source") or ""
    bind = _is_bind(entry, options)
    _check_proc(destination, kind, bind)
    mapped = entry.get("uidMappings") or entry.get("gidMappings")
    if options.idmap or mapped:
        field = "uidMappings:" if mapped else "options: idmap"
        if not bind or options.remount:
            raise SpecError(f"{where}.{field} needs a bind mount")
        # Without ids of its own a mount gets those of the container's user namespace.
        if not mapped and not in_userns:
            raise SpecError(f"{where}.{field} needs uidMappings or a user namespace")
    if options.copy_up and (bind or kind != "tmpfs"):
        raise SpecError(f"{where}.options: tmpcopyup needs a tmpfs")
    if options.remount:
        if options.copy_up:
            raise SpecError(f"{where}.options: tmpcopyup cannot be combined with remount")
        return Remount(destination, options)
    if bind:
        return BindMount(index, destination, required(entry, "source", f"{where}."), options)
    required(entry, "type", f"{where}.")
    if _is_late(destination, kind, options):
        options = MountOptions([*options.words, "rw"])
    label = linux.get("mountLabel")
    if label and kind not in _UNLABELLED:
        options = MountOptions([*options.words, f"context={label}"])
    if options.copy_up:
        return CopiedTmpfs(destination, source, options)
    if kind == "cgroup":
        own = any(entry["type"] == "cgroup" for entry in linux.get("namespaces") or ())
        return CgroupMount(destination, options, own=own)
    if kind == "tmpfs" and not any(word.startswith("mode=") for word in options.data):
        return LikeBelow(destination, kind, source, options)
    return (SysfsMount if kind == "sysfs" else NewMount)(destination, kind, source, options)


def is_procfs(step: "Step") -> bool:
    """Return whether a step mounts the kernel's procfs."""
    return isinstance(step, NewMount) and step.fstype == "proc"


def without_procfs(spec: "dict[str, Any]") -> SpecError:
    """Return the error for parameters of the kernel without a procfs to write them to."""
    why = "linux.sysctl needs the kernel's procfs there"
    for index, entry in enumerate(spec.get("mounts") or ()):
        if _normal(entry["destination"]) == "/proc":
            return SpecError(f"mounts[{index}]: {entry.get('source')!r} on /proc, but {why}")
    return SpecError(f"mounts: none on /proc, but {why}")


_PROC_FILES = frozenset("/proc/" + name for name in (
    "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo",
    "net/dev", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"))  # fmt: skip


def _check_proc(destination: str, kind: str, bind: bool) -> None:
    """Refuse mounts that would stand in for the kernel's own files (CVE-2019-16884)."""
    path = _normal(destination)
    if ".." in path.split("/"):
        raise SpecError(f"mounts: destination {destination!r} must not climb")
    if path == "/proc" and kind not in ("proc", "") and not bind:
        raise SpecError(f"mounts: a {kind} on /proc is refused")
    if path.startswith("/proc/") and path not in _PROC_FILES:
        raise SpecError(f"mounts: {destination!r} is inside /proc")


def _normal(path: str) -> str:
    """Return a path from the root on without empty parts and dots."""
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
