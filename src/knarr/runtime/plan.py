"""``plan``: an OCI spec becomes what has to be done, as values that can be printed. Pure.

The plan has three parts: namespaces to make or to join, steps for the first
process in its new namespaces, and the final leg in which it becomes the
container's program. The moment between steps and final leg is the gate: an
OCI ``create`` stops there, ``start`` goes on, and ``run`` does both.
"""

from knarr.kernel.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWNS,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    NAMESPACES,
)
from knarr.runtime import mountplan
from knarr.runtime.fields import SpecError, ids, number, required
from knarr.runtime.mountopts import PROPAGATION
from knarr.runtime.processplan import console_size, final_leg, unknown_capabilities, user_of
from knarr.runtime.steps.cgroups import JoinCgroups
from knarr.runtime.steps.devices import (
    DEFAULT_DEVICES,
    Console,
    Device,
    DeviceLinks,
)
from knarr.runtime.steps.identity import HostName, Loopback
from knarr.runtime.steps.mounts import (
    AttachRoot,
    InheritMounts,
    PivotRoot,
    PrivateTree,
    ReadonlyRoot,
    RootPropagation,
)
from knarr.runtime.steps.paths import MaskPaths, ReadonlyPaths, Sysctl, WorkingDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.runtime.entering import Maps
    from knarr.runtime.finalleg import FinalLeg
    from knarr.runtime.steps.base import Step

# A container that names no mount namespace shares its maker's.
OWN_MOUNTS = "/proc/self/ns/mnt"


_LONG = (1 << 63) - 1


class Plan:
    """What makes one container, ready to be carried out or printed.

    clone_flags: namespaces to make with the first process. unshare_flags: those
    it has to make itself once it is in its cgroup. joins: (clone flag, path) of
    namespaces to enter first. uid_maps, gid_maps: (container, host, size); none with a user
    namespace by path stands for those that it has. time_offsets: clock, seconds, nanoseconds of
    a new time namespace, None when there is to be none. mount_maps: id maps of bind mounts that
    have their own, by index in ``mounts[]``.
    warnings: what of the spec is left out, which is to be no error. nested: who makes it is in a
    user namespace other than the machine's, and so is the container in any case.
    """

    __slots__ = (
        "clone_flags",
        "gid_maps",
        "joins",
        "leg",
        "mount_maps",
        "nested",
        "oom_score_adj",
        "steps",
        "time_offsets",
        "uid_maps",
        "unshare_flags",
        "warnings",
    )

    def __init__(self, **values: "Any") -> None:
        for name in self.__slots__:
            setattr(self, name, values[name])

    if TYPE_CHECKING:
        clone_flags: int
        gid_maps: tuple[tuple[int, int, int], ...]
        joins: tuple[tuple[int, str], ...]
        leg: FinalLeg
        mount_maps: dict[int, tuple[Maps, Maps]]
        nested: bool
        oom_score_adj: int | None
        steps: tuple[Step, ...]
        time_offsets: tuple[tuple[str, int, int], ...] | None
        uid_maps: tuple[tuple[int, int, int], ...]
        unshare_flags: int
        warnings: tuple[str, ...]

    @property
    def in_userns(self) -> bool:
        """Whether the container is in a user namespace other than its maker's."""
        return bool(self.clone_flags & CLONE_NEWUSER) or self.joins_user

    @property
    def joins_user(self) -> bool:
        """Whether that is another container's; its id maps are those of the spec."""
        return enters_user(self.joins)

    @property
    def apart(self) -> bool:
        """Whether its process cannot share its maker's memory (``carrier.spawn``)."""
        joined = any(flag == CLONE_NEWTIME for flag, _ in self.joins)
        return joined or self.time_offsets is not None

    def describe(self) -> "list[str]":
        """Return the plan as lines for people, in the order in which it happens."""
        made = [name for name, (flag, _) in NAMESPACES.items()
                if (self.clone_flags | self.unshare_flags) & flag]  # fmt: skip
        lines = [f"new namespaces: {' '.join(made)}"]
        lines += [f"join {path}" for _, path in self.joins]
        lines += [
            f"{clock} {secs + nsecs / 1e9:+} s" for clock, secs, nsecs in self.time_offsets or ()
        ]
        for name, maps in (("uid", self.uid_maps), ("gid", self.gid_maps)):
            lines += [f"{name} map {a} -> {b} ({size})" for a, b, size in maps]
        return lines + [step.describe() for step in self.steps] + self.leg.describe()


def plan(spec: "dict[str, Any]") -> Plan:
    """Return the plan for an OCI runtime spec; raises SpecError naming the field.

    Source: runtime-spec config.md and config-linux.md.
    """
    linux = spec.get("linux") or {}
    _refuse_unsupported(spec, linux)
    made, joins = namespaces(linux)
    _refuse_for_others(spec, made, joins)
    in_userns = bool(made & CLONE_NEWUSER) or enters_user(joins)
    leg = final_leg(required(spec, "process"), linux)
    return Plan(
        # Mounts are made in a new namespace even where the container ends up in another.
        clone_flags=made & ~(CLONE_NEWCGROUP | CLONE_NEWTIME) | CLONE_NEWNS,
        time_offsets=_time_offsets(linux, made),
        unshare_flags=made & CLONE_NEWCGROUP,
        joins=joins,
        uid_maps=_id_maps(linux, "uidMappings", in_userns),
        gid_maps=_id_maps(linux, "gidMappings", in_userns),
        steps=tuple(_steps(spec, linux, made, sum(flag for flag, _ in joins))),
        leg=leg,
        mount_maps=mountplan.id_maps(spec),
        nested=False,
        oom_score_adj=spec["process"].get("oomScoreAdj"),
        warnings=(
            *unknown_capabilities(spec["process"].get("capabilities") or {}, leg),
            *mountplan.ignored(spec),
        ),
    )


# What the spec defines and this runtime does not do yet; silence would be a lie.
_UNSUPPORTED_LINUX = ("intelRdt", "netDevices")


def _refuse_unsupported(spec: "dict[str, Any]", linux: "dict[str, Any]") -> None:
    version = str(required(spec, "ociVersion"))
    if not version.startswith("1."):
        raise SpecError(f"ociVersion: {version!r} is not 1.x, which this runtime knows")
    for field in _UNSUPPORTED_LINUX:
        if linux.get(field):
            raise SpecError(f"linux.{field}: is not supported by this runtime")
    if any((spec.get("hooks") or {}).values()):
        raise SpecError("hooks: are not supported by this runtime")
    if (linux.get("seccomp") or {}).get("listenerPath"):
        raise SpecError("linux.seccomp.listenerPath: is not supported by this runtime")


def _refuse_for_others(
    spec: "dict[str, Any]", made: int, joins: "tuple[tuple[int, str], ...]"
) -> None:
    """Refuse what would change the caller's own namespaces."""
    if any(flag == CLONE_NEWNS for flag, _ in joins):
        _refuse_with_others_mounts(spec, made | sum(flag for flag, _ in joins))
    own = made | sum(flag for flag, _ in joins)
    for field in ("hostname", "domainname"):
        if spec.get(field) and not own & NAMESPACES["uts"][0]:
            raise SpecError(f"{field}: needs a uts namespace of its own, or one by path")
        key = f"kernel.{field}"
        other = ((spec.get("linux") or {}).get("sysctl") or {}).get(key)
        if spec.get(field) and other not in (None, spec[field]):
            raise SpecError(f"linux.sysctl: {key!r} is not what {field} says")


def _refuse_with_others_mounts(spec: "dict[str, Any]", own: int) -> None:
    """Refuse what is lost when the finished tree is taken to a mount namespace that exists."""
    linux = spec.get("linux") or {}
    if own & CLONE_NEWUSER:
        raise SpecError("linux.namespaces: a user namespace needs a new mount namespace")
    if linux.get("rootfsPropagation") not in (None, "", "private", "rprivate"):
        raise SpecError("linux.rootfsPropagation: needs a new mount namespace")
    for index, entry in enumerate(spec.get("mounts") or ()):
        if {"unbindable", "runbindable"}.intersection(entry.get("options") or ()):
            raise SpecError(f"mounts[{index}].options: unbindable needs a new mount namespace")


def namespaces(linux: "dict[str, Any]") -> "tuple[int, tuple[tuple[int, str], ...]]":
    """Return CLONE_NEW* of those to make, and flag and path of those to enter. SpecError."""
    made = 0
    joins: list[tuple[int, str]] = []
    seen = set()
    for entry in linux.get("namespaces") or ():
        kind = entry.get("type")
        if kind not in NAMESPACES:
            raise SpecError(f"linux.namespaces: {kind!r} is not known")
        if kind in seen:
            raise SpecError(f"linux.namespaces: {kind!r} is given twice")
        seen.add(kind)
        flag = NAMESPACES[kind][0]
        if entry.get("path"):
            if not entry["path"].startswith("/"):
                raise SpecError(f"linux.namespaces: {entry['path']!r} is not an absolute path")
            joins.append((flag, entry["path"]))
        else:
            made |= flag
    if "mount" not in seen:
        joins.append((CLONE_NEWNS, OWN_MOUNTS))
    # Whoever has entered a user namespace may enter others that belong to it.
    joins.sort(key=lambda join: join[0] != CLONE_NEWUSER)
    if "time" in seen and enters_user(tuple(joins)):
        raise SpecError("linux.namespaces: time and a user namespace by path are not supported")
    return made, tuple(joins)


def _time_offsets(linux: "dict[str, Any]", made: int) -> "tuple[tuple[str, int, int], ...] | None":
    """Return the offsets of a new time namespace (config-linux.md, "Offset for Time Namespace")."""
    offsets = linux.get("timeOffsets") or {}
    if not made & CLONE_NEWTIME:
        if offsets:
            raise SpecError("linux.timeOffsets: needs a new time namespace")
        return None
    for clock in offsets:
        if clock not in ("monotonic", "boottime"):
            raise SpecError(f"linux.timeOffsets: {clock!r} is not monotonic or boottime")
    return tuple(
        (
            clock,
            number(by.get("secs", 0), f"linux.timeOffsets.{clock}.secs", -_LONG - 1, _LONG),
            number(by.get("nanosecs", 0), f"linux.timeOffsets.{clock}.nanosecs", 0, 999_999_999),
        )
        for clock, by in offsets.items()
    )


def namespace_flags(linux: "dict[str, Any]") -> int:
    """Return CLONE_NEW* of all namespaces that are named: what has to be entered by who joins."""
    word = 0
    for entry in linux.get("namespaces") or ():
        word |= NAMESPACES[entry["type"]][0]
    return word


def enters_user(joins: "tuple[tuple[int, str], ...]") -> bool:
    """Return whether a user namespace is among those to enter."""
    return any(flag == CLONE_NEWUSER for flag, _ in joins)


def _id_maps(linux: "dict[str, Any]", field: str, in_userns: bool) -> "Maps":
    maps = linux.get(field) or ()
    given = any(
        entry.get("path") for entry in linux.get("namespaces") or () if entry["type"] == "user"
    )
    if bool(maps) != in_userns and not (given and not maps):
        raise SpecError(f"linux.{field}: needed with a user namespace, and only then")
    return ids(maps, f"linux.{field}")


def _steps(spec: "dict[str, Any]", linux: "dict[str, Any]", made: int, joins: int) -> "list[Step]":
    in_userns = bool((made | joins) & CLONE_NEWUSER)
    propagation = linux.get("rootfsPropagation") or ""
    if propagation and propagation not in PROPAGATION:
        raise SpecError(f"linux.rootfsPropagation: {propagation!r} is not known")
    steps: list[Step] = [JoinCgroups()] if joins & CLONE_NEWCGROUP else []
    steps.append(PrivateTree(propagation in ("shared", "slave", "rshared", "rslave")))
    steps.append(AttachRoot())
    if spec.get("hostname") or spec.get("domainname"):
        steps.append(HostName(spec.get("hostname") or "", spec.get("domainname") or ""))
    if made & NAMESPACES["network"][0]:
        steps.append(Loopback())
    mounts = mountplan.steps(spec, in_userns)
    if linux.get("sysctl") and not any(map(mountplan.is_procfs, mounts)):
        raise mountplan.without_procfs(spec)
    steps += mounts
    process = required(spec, "process")
    steps += _devices(linux)
    if process.get("terminal"):
        steps.append(Console(*console_size(process)))
    steps.append(user_of(process))
    steps.append(WorkingDirectory(required(process, "cwd", "process.")))
    steps += _protections(spec, linux)
    steps.append(PivotRoot())
    if not made & CLONE_NEWNS:
        steps.append(InheritMounts())
    elif propagation:
        steps.append(RootPropagation(propagation))
    return steps


def _protections(spec: "dict[str, Any]", linux: "dict[str, Any]") -> "list[Step]":
    steps: list[Step] = []
    if linux.get("sysctl"):
        steps.append(Sysctl(_sysctls(linux)))
    if linux.get("readonlyPaths"):
        steps.append(ReadonlyPaths(tuple(dict.fromkeys(linux["readonlyPaths"]))))
    if linux.get("maskedPaths"):
        steps.append(MaskPaths(tuple(dict.fromkeys(linux["maskedPaths"]))))
    steps += mountplan.afterwards(spec)
    if (spec.get("root") or {}).get("readonly"):
        steps.append(ReadonlyRoot())
    return steps


_SYSCTL_NAMESPACE = {
    **dict.fromkeys(
        ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
         "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"), "ipc"),
    "kernel.hostname": "uts",
    "kernel.domainname": "uts",
}  # fmt: skip


def _sysctls(linux: "dict[str, Any]") -> "tuple[tuple[str, str], ...]":
    """Return the parameters; refuse those of no namespace that the container has: the host's."""
    own = {entry.get("type") for entry in linux.get("namespaces") or ()}
    for key in linux["sysctl"]:
        parts = key.split("/" if "/" in key else ".")
        name = ".".join(parts)
        kind = _SYSCTL_NAMESPACE.get(name)
        if len(parts) > 2 and parts[:2] == ["fs", "mqueue"]:
            kind = "ipc"
        elif len(parts) > 1 and parts[0] == "net":
            kind = "network"
        if kind is None or not all(part.strip(".") for part in parts):
            raise SpecError(f"linux.sysctl: {key!r} belongs to no namespace of a container")
        if kind not in own:
            raise SpecError(f"linux.sysctl: {key!r} needs a {kind} namespace of its own")
    return tuple(sorted((key, str(value)) for key, value in linux["sysctl"].items()))


_USUAL = {path: (major, minor) for path, major, minor in DEFAULT_DEVICES}
_DEVICE_NUMBERS = (("major", 0), ("minor", 0), ("fileMode", 0o666), ("uid", 0), ("gid", 0))


def _devices(linux: "dict[str, Any]") -> "list[Step]":
    found = {path: Device(path, "c", major, minor) for path, major, minor in DEFAULT_DEVICES}
    for index, entry in enumerate(linux.get("devices") or ()):
        path = required(entry, "path", f"linux.devices[{index}].").rstrip("/")
        kind = required(entry, "type", f"linux.devices[{index}].")
        if kind not in ("c", "u", "b", "p"):
            raise SpecError(f"linux.devices[{index}].type: {kind!r} is not c, u, b or p")
        major, minor, mode, uid, gid = (
            number(entry.get(name, default), f"linux.devices[{index}].{name}")
            for name, default in _DEVICE_NUMBERS
        )
        usual = _USUAL.get(path)
        if usual is not None and (kind in ("b", "p") or (major, minor) != usual):
            raise SpecError(f"linux.devices[{index}]: {path} is c {usual[0]}:{usual[1]}")
        kind = "c" if usual else kind
        found[path] = Device(path, kind, major, minor, mode & 0o7777, uid, gid)
    return [*found.values(), DeviceLinks()]
