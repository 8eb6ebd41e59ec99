"""``plan``: an OCI spec becomes what has to be done, as values that can be printed. Pure.

The plan has three parts: namespaces to make or to join, steps for the first
process in its new namespaces, and the final leg in which it becomes the
container's program. The moment between steps and final leg is the gate: an
OCI ``create`` stops there, ``start`` goes on, and ``run`` does both.
"""

import resource

from knarr.kernel.namespaces import CLONE_NEWCGROUP, CLONE_NEWUSER, NAMESPACES
from knarr.kernel.seccomp import FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_TSYNC, FLAG_WAIT_KILLABLE_RECV
from knarr.runtime.finalleg import FinalLeg
from knarr.runtime.mountopts import MountOptions
from knarr.runtime.steps.devices import (
    DEFAULT_DEVICES,
    Console,
    Device,
    DeviceLinks,
    JoinConsole,
)
from knarr.runtime.steps.identity import HostName, Loopback, User
from knarr.runtime.steps.mounts import (
    AttachRoot,
    BindMount,
    CgroupMount,
    NewMount,
    PivotRoot,
    PrivateTree,
    RootAttributes,
    SysfsMount,
)
from knarr.runtime.steps.paths import MaskPaths, ReadonlyPaths, Sysctl, WorkingDirectory
from knarr.spec.capabilities import mask as mask_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.runtime.steps.base import Step

USER_NAME = "x-knarr-name"
_SCHEDULERS = {"SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3,
               "SCHED_ISO": 4, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6}  # fmt: skip
_SCHEDULER_FLAGS = {"SCHED_FLAG_RESET_ON_FORK": 1, "SCHED_FLAG_RECLAIM": 2,
                    "SCHED_FLAG_DL_OVERRUN": 4, "SCHED_FLAG_KEEP_POLICY": 8,
                    "SCHED_FLAG_KEEP_PARAMS": 16, "SCHED_FLAG_UTIL_CLAMP_MIN": 32,
                    "SCHED_FLAG_UTIL_CLAMP_MAX": 64}  # fmt: skip
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_SECCOMP_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": FLAG_WAIT_KILLABLE_RECV,
}
_PERSONALITIES = {"LINUX": 0, "LINUX32": 8}


class SpecError(ValueError):
    """A field of the spec is missing or malformed; the text names it."""


class Plan:
    """What makes one container, ready to be carried out or printed.

    clone_flags: namespaces to make with the first process. unshare_flags: those
    it has to make itself once it is in its cgroup. joins: (clone flag, path) of
    namespaces to enter first. uid_maps, gid_maps: (container, host, size).
    """

    __slots__ = (
        "clone_flags",
        "gid_maps",
        "joins",
        "leg",
        "oom_score_adj",
        "steps",
        "uid_maps",
        "unshare_flags",
    )

    def __init__(self, **values: "Any") -> None:
        for name in self.__slots__:
            setattr(self, name, values[name])

    if TYPE_CHECKING:
        clone_flags: int
        gid_maps: tuple[tuple[int, int, int], ...]
        joins: tuple[tuple[int, str], ...]
        leg: FinalLeg
        oom_score_adj: int | None
        steps: tuple[Step, ...]
        uid_maps: tuple[tuple[int, int, int], ...]
        unshare_flags: int

    @property
    def in_userns(self) -> bool:
        """Whether the container has a user namespace of its own."""
        return bool(self.clone_flags & CLONE_NEWUSER)

    def describe(self) -> "list[str]":
        """Return the plan as lines for people, in the order in which it happens."""
        made = [name for name, (flag, _) in NAMESPACES.items()
                if (self.clone_flags | self.unshare_flags) & flag]  # fmt: skip
        lines = [f"new namespaces: {' '.join(made)}"]
        lines += [f"join {path}" for _, path in self.joins]
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
    return Plan(
        clone_flags=made & ~CLONE_NEWCGROUP,
        unshare_flags=made & CLONE_NEWCGROUP,
        joins=joins,
        uid_maps=_id_maps(linux, "uidMappings", made),
        gid_maps=_id_maps(linux, "gidMappings", made),
        steps=tuple(_steps(spec, linux, made)),
        leg=final_leg(_required(spec, "process"), linux),
        oom_score_adj=spec["process"].get("oomScoreAdj"),
    )


# What the spec defines and this runtime does not do yet; silence would be a lie.
_UNSUPPORTED_LINUX = ("intelRdt", "memoryPolicy", "netDevices", "timeOffsets")


def _refuse_unsupported(spec: "dict[str, Any]", linux: "dict[str, Any]") -> None:
    for field in _UNSUPPORTED_LINUX:
        if linux.get(field):
            raise SpecError(f"linux.{field}: is not supported by this runtime")
    if any((spec.get("hooks") or {}).values()):
        raise SpecError("hooks: are not supported by this runtime")
    if (linux.get("seccomp") or {}).get("listenerPath"):
        raise SpecError("linux.seccomp.listenerPath: is not supported by this runtime")
    for index, entry in enumerate(spec.get("mounts") or ()):
        if entry.get("uidMappings") or entry.get("gidMappings"):
            raise SpecError(f"mounts[{index}].uidMappings: is not supported by this runtime")


def namespaces(linux: "dict[str, Any]") -> "tuple[int, tuple[tuple[int, str], ...]]":
    """Return CLONE_NEW* of those to make, and flag and path of those to enter. SpecError."""
    made = 0
    joins: list[tuple[int, str]] = []
    seen = set()
    for entry in linux.get("namespaces") or ():
        kind = entry.get("type")
        if kind not in NAMESPACES or kind == "time":
            raise SpecError(f"linux.namespaces: {kind!r} is not supported")
        if kind in seen:
            raise SpecError(f"linux.namespaces: {kind!r} is given twice")
        seen.add(kind)
        flag = NAMESPACES[kind][0]
        if entry.get("path"):
            joins.append((flag, entry["path"]))
        else:
            made |= flag
    if "mount" not in seen:
        raise SpecError("linux.namespaces: a container without a mount namespace is not supported")
    return made, tuple(joins)


def _id_maps(linux: "dict[str, Any]", field: str, made: int) -> "tuple[tuple[int, int, int], ...]":
    maps = linux.get(field) or ()
    if bool(maps) != bool(made & CLONE_NEWUSER):
        raise SpecError(f"linux.{field}: needed with a new user namespace, and only then")
    try:
        return tuple((m["containerID"], m["hostID"], m["size"]) for m in maps)
    except (KeyError, TypeError) as error:
        raise SpecError(f"linux.{field}: needs containerID, hostID and size") from error


def _steps(spec: "dict[str, Any]", linux: "dict[str, Any]", made: int) -> "list[Step]":
    propagation = linux.get("rootfsPropagation") or ""
    steps: list[Step] = [PrivateTree(propagation in ("shared", "slave", "rshared", "rslave"))]
    steps.append(AttachRoot())
    if spec.get("hostname") or spec.get("domainname"):
        if not made & NAMESPACES["uts"][0]:
            raise SpecError("hostname: needs a new uts namespace")
        steps.append(HostName(spec.get("hostname") or "", spec.get("domainname") or ""))
    if made & NAMESPACES["network"][0]:
        steps.append(Loopback())
    steps += [_mount(index, entry) for index, entry in enumerate(spec.get("mounts") or ())]
    process = _required(spec, "process")
    steps += _devices(linux)
    if process.get("terminal"):
        steps.append(Console(*_size(process)))
    steps.append(_user(process))
    steps.append(WorkingDirectory(_required(process, "cwd", "process.")))
    steps += _protections(spec, linux, propagation)
    steps.append(PivotRoot())
    return steps


def _protections(spec: "dict[str, Any]", linux: "dict[str, Any]", propagation: str) -> "list[Step]":
    steps: list[Step] = []
    if linux.get("sysctl"):
        steps.append(Sysctl(_sysctls(linux)))
    if linux.get("readonlyPaths"):
        steps.append(ReadonlyPaths(tuple(linux["readonlyPaths"])))
    if linux.get("maskedPaths"):
        steps.append(MaskPaths(tuple(linux["maskedPaths"])))
    readonly = bool((spec.get("root") or {}).get("readonly"))
    if readonly or propagation:
        steps.append(RootAttributes(readonly, propagation))
    return steps


def _mount(index: int, entry: "dict[str, Any]") -> "Step":
    destination = _required(entry, "destination", f"mounts[{index}].")
    if not destination.startswith("/"):
        destination = "/" + destination
    options = MountOptions(entry.get("options") or [])
    kind = entry.get("type") or ""
    source = entry.get("source") or ""
    _check_proc(destination, kind, options.bind)
    if options.bind or kind in ("bind", "none"):
        return BindMount(index, destination, source, options)
    if kind == "cgroup":
        return CgroupMount(destination, options)
    step = SysfsMount if kind == "sysfs" else NewMount
    return step(destination, kind, source, options)


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


_PROC_FILES = frozenset("/proc/" + name for name in (
    "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo",
    "net/dev", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"))  # fmt: skip


def _check_proc(destination: str, kind: str, bind: bool) -> None:
    """Refuse mounts that would stand in for the kernel's own files (CVE-2019-16884)."""
    path = "/" + "/".join(part for part in destination.split("/") if part not in ("", "."))
    if ".." in path.split("/"):
        raise SpecError(f"mounts: destination {destination!r} must not climb")
    if path == "/proc" and kind not in ("proc", "") and not bind:
        raise SpecError(f"mounts: a {kind} on /proc is refused")
    if path.startswith("/proc/") and path not in _PROC_FILES:
        raise SpecError(f"mounts: {destination!r} is inside /proc")


_DEVICE_NUMBERS = (("major", 0), ("minor", 0), ("fileMode", 0o666), ("uid", 0), ("gid", 0))


def _devices(linux: "dict[str, Any]") -> "list[Step]":
    steps: list[Step] = [Device(path, "c", major, minor) for path, major, minor in DEFAULT_DEVICES]
    known = {path for path, _, _ in DEFAULT_DEVICES}
    for index, entry in enumerate(linux.get("devices") or ()):
        path = _required(entry, "path", f"linux.devices[{index}].")
        kind = _required(entry, "type", f"linux.devices[{index}].")
        if kind not in ("c", "u", "b", "p"):
            raise SpecError(f"linux.devices[{index}].type: {kind!r} is not c, u, b or p")
        if path in known:
            continue
        major, minor, mode, uid, gid = (
            _number(entry.get(name, default), f"linux.devices[{index}].{name}")
            for name, default in _DEVICE_NUMBERS
        )
        steps.append(Device(path, kind, major, minor, mode & 0o7777, uid, gid))
    steps.append(DeviceLinks())
    return steps


def exec_steps(process: "dict[str, Any]") -> "tuple[Step, ...]":
    """Return the steps that a further process of a container needs before its gate."""
    steps: list[Step] = []
    if process.get("terminal"):
        steps.append(JoinConsole(*_size(process)))
    return (*steps, _user(process))


def _user(process: "dict[str, Any]") -> User:
    user = process.get("user") or {}
    gid = user.get("gid", 0)
    gids = tuple(user.get("additionalGids") or ())
    name = user.get(USER_NAME)
    return User(
        user.get("uid", 0),
        gid,
        gids if name is not None else tuple(dict.fromkeys((gid, *gids))),
        name,
    )


def final_leg(process: "dict[str, Any]", linux: "dict[str, Any]") -> FinalLeg:
    """Return the final leg for ``process`` of a spec; also used for exec. Raises SpecError."""
    args = tuple(process.get("args") or ())
    if not args:
        raise SpecError("process.args: is empty")
    cwd = _required(process, "cwd", "process.")
    if not cwd.startswith("/"):
        raise SpecError(f"process.cwd: {cwd!r} is not absolute")
    capabilities = process.get("capabilities") or {}
    flags = (linux.get("seccomp") or {}).get("flags") or ()
    persona = (linux.get("personality") or {}).get("domain")
    return FinalLeg(
        args=args,
        env=tuple(process.get("env") or ()),
        cwd=cwd,
        capabilities={
            name: mask_of(capabilities.get(name) or ())
            for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
        },
        rlimits=_rlimits(process),
        no_new_privileges=bool(process.get("noNewPrivileges")),
        scheduler=_scheduler(process.get("scheduler")),
        io_priority=_io_priority(process.get("ioPriority")),
        personality=_personality(persona),
        seccomp_flags=_flags(flags),
        terminal=bool(process.get("terminal")),
        lsm_label=_lsm_label(process),
        umask=_number((process.get("user") or {}).get("umask", 0o022), "process.user.umask"),
    )


def _lsm_label(process: "dict[str, Any]") -> "tuple[str, str] | None":
    """Return module and text for the security module's exec attribute."""
    if process.get("apparmorProfile") and process.get("selinuxLabel"):
        raise SpecError("process.selinuxLabel: cannot be combined with apparmorProfile")
    if process.get("apparmorProfile"):
        return "apparmor", f"exec {process['apparmorProfile']}"
    if process.get("selinuxLabel"):
        return "selinux", process["selinuxLabel"]
    return None


def _personality(domain: "str | None") -> "int | None":
    if domain is not None and domain not in _PERSONALITIES:
        raise SpecError(f"linux.personality.domain: {domain!r} is not LINUX or LINUX32")
    return None if domain is None else _PERSONALITIES[domain]


def _flags(names: "list[str] | tuple[str, ...]") -> int:
    word = 0
    for name in names:
        if name not in _SECCOMP_FLAGS:
            raise SpecError(f"linux.seccomp.flags: {name!r} is not known")
        word |= _SECCOMP_FLAGS[name]
    return word


def _rlimits(process: "dict[str, Any]") -> "tuple[tuple[int, int, int], ...]":
    limits: dict[int, tuple[int, int, int]] = {}
    for entry in process.get("rlimits") or ():
        number = getattr(resource, str(entry.get("type")), None)
        if not str(entry.get("type")).startswith("RLIMIT_") or number is None:
            raise SpecError(f"process.rlimits: {entry.get('type')!r} is not known")
        if number in limits:
            raise SpecError(f"process.rlimits: {entry['type']!r} is given twice")
        try:
            limits[number] = (number, _rlimit(entry["soft"]), _rlimit(entry["hard"]))
        except (KeyError, TypeError) as error:
            raise SpecError(f"process.rlimits: {entry['type']} needs soft and hard") from error
    return tuple(limits.values())


def _rlimit(value: int) -> int:
    """Return a limit as Python has it: RLIM_INFINITY of the kernel is -1 here."""
    return -1 if value >= 2**63 - 1 or value < 0 else value


def _scheduler(value: "dict[str, Any] | None") -> "dict[str, int] | None":
    if not value:
        return None
    if value.get("policy") not in _SCHEDULERS:
        raise SpecError(f"process.scheduler.policy: {value.get('policy')!r} is not known")
    flags = 0
    for name in value.get("flags") or ():
        if name not in _SCHEDULER_FLAGS:
            raise SpecError(f"process.scheduler.flags: {name!r} is not known")
        flags |= _SCHEDULER_FLAGS[name]
    rest = {key: value.get(key, 0) for key in ("nice", "priority", "runtime", "deadline", "period")}
    return {"policy": _SCHEDULERS[value["policy"]], "flags": flags, **rest}


def _io_priority(value: "dict[str, Any] | None") -> "int | None":
    if not value:
        return None
    if value.get("class") not in _IO_CLASSES:
        raise SpecError(f"process.ioPriority.class: {value.get('class')!r} is not known")
    return _IO_CLASSES[value["class"]] << 13 | int(value.get("priority", 0))


def _required(value: "dict[str, Any]", field: str, prefix: str = "") -> "Any":
    found = value.get(field)
    if found is None or found == "":
        raise SpecError(f"{prefix}{field}: is missing")
    return found


def _number(value: "Any", field: str) -> int:
    """Return a number; a text in its place would be handed to the kernel by its address."""
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise SpecError(f"{field}: {value!r} is not a number of 32 bits")
    return value


def _size(process: "dict[str, Any]") -> "tuple[int, int]":
    """Return rows and columns of a terminal."""
    size = process.get("consoleSize") or {}
    rows = _number(size.get("height", 0), "process.consoleSize.height")
    return rows, _number(size.get("width", 0), "process.consoleSize.width")
