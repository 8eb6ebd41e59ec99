"""``process`` of an OCI spec becomes the final leg, and steps of an exec. Pure.

How fields are read, and refused, is here as well.
"""

import resource

from knarr.kernel.seccomp import FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_TSYNC, FLAG_WAIT_KILLABLE_RECV
from knarr.runtime.finalleg import FinalLeg
from knarr.runtime.steps.identity import User
from knarr.spec.capabilities import NUMBERS
from knarr.spec.capabilities import mask as mask_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.runtime.steps.base import Step

USER_NAME = "x-knarr-name"
GROUPS = "x-knarr-groups"
_WORD, _LONG = (1 << 32) - 1, (1 << 64) - 1
_SCHEDULERS = {"SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3,
               "SCHED_ISO": 4, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6}  # fmt: skip
_SCHEDULER_FLAGS = {"SCHED_FLAG_RESET_ON_FORK": 1, "SCHED_FLAG_RECLAIM": 2,
                    "SCHED_FLAG_DL_OVERRUN": 4, "SCHED_FLAG_KEEP_POLICY": 8,
                    "SCHED_FLAG_KEEP_PARAMS": 16, "SCHED_FLAG_UTIL_CLAMP_MIN": 32,
                    "SCHED_FLAG_UTIL_CLAMP_MAX": 64}  # fmt: skip
_SCHEDULER_NUMBERS = (("nice", -20, 19), ("priority", 0, 99), ("runtime", 0, _LONG),
                      ("deadline", 0, _LONG), ("period", 0, _LONG))  # fmt: skip
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


def final_leg(process: "dict[str, Any]", linux: "dict[str, Any]") -> FinalLeg:
    """Return the final leg for ``process`` of a spec; also used for exec. Raises SpecError."""
    args = tuple(process.get("args") or ())
    if not args:
        raise SpecError("process.args: is empty")
    cwd = required(process, "cwd", "process.")
    if not cwd.startswith("/"):
        raise SpecError(f"process.cwd: {cwd!r} is not absolute")
    if process.get("execCPUAffinity"):
        raise SpecError("process.execCPUAffinity: is not supported by this runtime")
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
        umask=number((process.get("user") or {}).get("umask", 0o022), "process.user.umask"),
    )


def exec_steps(process: "dict[str, Any]") -> "tuple[Step, ...]":
    """Return the steps that a further process of a container needs before its gate."""
    user = user_of(process)
    if not process.get("terminal"):
        return (user,)
    from knarr.runtime.steps.devices import JoinConsole

    return JoinConsole(*console_size(process)), user


def user_of(process: "dict[str, Any]") -> User:
    """Return who the process is to be."""
    user = process.get("user") or {}
    gid = user.get("gid", 0)
    gids = tuple(user.get("additionalGids") or ())
    name = user.get(USER_NAME)
    return User(
        user.get("uid", 0),
        gid,
        gids if name is not None else tuple(dict.fromkeys((gid, *gids))),
        name,
        tuple(user.get(GROUPS) or ()),
    )


def console_size(process: "dict[str, Any]") -> "tuple[int, int]":
    """Return rows and columns of a terminal."""
    size = process.get("consoleSize") or {}
    rows = number(size.get("height", 0), "process.consoleSize.height")
    return rows, number(size.get("width", 0), "process.consoleSize.width")


def unknown_capabilities(sets: "dict[str, list[str]]", leg: FinalLeg) -> "tuple[str, ...]":
    """Return a warning for each name that is left out (runtime-spec config.md, "capabilities")."""
    for kind, names in sets.items():
        if leg.capabilities.get(kind, 0).bit_count() != len(names or ()):
            break
    else:
        return ()
    unknown = sorted({str(name) for names in sets.values() for name in names or ()} - set(NUMBERS))
    return tuple(f"process.capabilities: {name!r} is not known and left out" for name in unknown)


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
        which = getattr(resource, str(entry.get("type")), None)
        if not str(entry.get("type")).startswith("RLIMIT_") or which is None:
            raise SpecError(f"process.rlimits: {entry.get('type')!r} is not known")
        if which in limits:
            raise SpecError(f"process.rlimits: {entry['type']!r} is given twice")
        try:
            limits[which] = (which, _rlimit(entry["soft"]), _rlimit(entry["hard"]))
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
    rest = {
        name: number(value.get(name, 0), f"process.scheduler.{name}", least, most)
        for name, least, most in _SCHEDULER_NUMBERS
    }
    return {"policy": _SCHEDULERS[value["policy"]], "flags": flags, **rest}


def _io_priority(value: "dict[str, Any] | None") -> "int | None":
    if not value:
        return None
    if value.get("class") not in _IO_CLASSES:
        raise SpecError(f"process.ioPriority.class: {value.get('class')!r} is not known")
    return _IO_CLASSES[value["class"]] << 13 | number(
        value.get("priority", 0), "process.ioPriority.priority", 0, 7
    )


def required(value: "dict[str, Any]", field: str, prefix: str = "") -> "Any":
    """Return a field; raises SpecError, with ``prefix`` before its name, where it is missing."""
    found = value.get(field)
    if found is None or found == "":
        raise SpecError(f"{prefix}{field}: is missing")
    return found


def number(value: "Any", field: str, least: int = 0, most: int = _WORD) -> int:
    """Return a number; a text in its place would be handed to the kernel by its address."""
    if type(value) is not int or not least <= value <= most:
        bounds = "of 32 bits" if most == _WORD else f"from {least} to {most}"
        raise SpecError(f"{field}: {value!r} is not a number {bounds}")
    return value
