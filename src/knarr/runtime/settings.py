"""What the kernel keeps of a process beside its rights, as the spec names it. Pure.

Limits, scheduling, I/O priority, personality, memory policy: names become numbers, and what
the kernel would only call an invalid argument is refused by its field.
"""

from knarr.cgroups.convert import parse_list
from knarr.kernel.process import PROCESSORS, RLIMITS
from knarr.runtime.fields import SpecError, number, required, word, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LONG = (1 << 64) - 1
SCHEDULERS = {"SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3,
              "SCHED_ISO": 4, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6}  # fmt: skip
_SCHEDULER_FLAGS = {"SCHED_FLAG_RESET_ON_FORK": 1, "SCHED_FLAG_RECLAIM": 2,
                    "SCHED_FLAG_DL_OVERRUN": 4, "SCHED_FLAG_KEEP_POLICY": 8,
                    "SCHED_FLAG_KEEP_PARAMS": 16, "SCHED_FLAG_UTIL_CLAMP_MIN": 32,
                    "SCHED_FLAG_UTIL_CLAMP_MAX": 64}  # fmt: skip
_KEEP_PARAMETERS = 16
_FAIR, _REAL_TIME, _DEADLINE = (0, 3), (1, 2), (6,)
# name, least and most, and for which policies the kernel looks at it (sched(7))
_SCHEDULER_NUMBERS = (("nice", -20, 19, _FAIR), ("priority", 0, 99, _REAL_TIME),
                      ("runtime", 0, _LONG, _DEADLINE), ("deadline", 0, _LONG, _DEADLINE),
                      ("period", 0, _LONG, _DEADLINE))  # fmt: skip
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_PERSONALITIES = {"LINUX": 0, "LINUX32": 8}
MEMORY_MODES = {"MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3,
                "MPOL_LOCAL": 4, "MPOL_PREFERRED_MANY": 5,
                "MPOL_WEIGHTED_INTERLEAVE": 6}  # fmt: skip
MEMORY_FLAGS = {"MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14,
                "MPOL_F_NUMA_BALANCING": 1 << 13}  # fmt: skip
NODES = 1024  # that a kernel can be made for (CONFIG_NODES_SHIFT)


def rlimits(process: "dict[str, Any]") -> "tuple[tuple[int, int, int], ...]":
    """Return resource number, soft and hard of each limit; -1 is unlimited (setrlimit(2))."""
    limits: dict[int, tuple[int, int, int]] = {}
    for entry in process.get("rlimits") or ():
        kind = entry.get("type")
        which = word(kind, "process.rlimits", RLIMITS)
        if which in limits:
            raise SpecError(f"process.rlimits: {kind!r} is given twice")
        try:
            limits[which] = (which, _rlimit(entry["soft"]), _rlimit(entry["hard"]))
        except (KeyError, TypeError) as error:
            raise SpecError(f"process.rlimits: {kind} needs soft and hard") from error
    return tuple(limits.values())


def _rlimit(value: int) -> int:
    """Return a limit as Python has it: RLIM_INFINITY of the kernel is -1 here."""
    return -1 if value >= 2**63 - 1 or value < 0 else value


def scheduler(value: "dict[str, Any] | None") -> "dict[str, int] | None":
    """Return the arguments of ``kernel.process.sched_attributes``."""
    if not value:
        return None
    field = "process.scheduler"
    policy = word(value.get("policy"), f"{field}.policy", SCHEDULERS)
    flags = words(value.get("flags"), f"{field}.flags", _SCHEDULER_FLAGS)
    found = {"policy": policy, "flags": flags}
    for name, least, most, policies in _SCHEDULER_NUMBERS:
        found[name] = number(value.get(name, 0), f"{field}.{name}", least, most)
        if found[name] and policy not in policies:
            raise SpecError(f"{field}.{name}: {value['policy']} has none")
    if policy in _REAL_TIME and not found["priority"] and not flags & _KEEP_PARAMETERS:
        raise SpecError(f"{field}.priority: {value['policy']} needs one from 1 to 99")
    if policy in _DEADLINE and not flags & _KEEP_PARAMETERS:
        _check_deadline(found, field)
    return found


def _check_deadline(found: "dict[str, int]", field: str) -> None:
    """Refuse times that sched_setattr(2) calls invalid; a period that is 0 is the deadline."""
    for name in ("runtime", "deadline"):
        if not found[name]:
            raise SpecError(f"{field}.{name}: is missing, SCHED_DEADLINE needs it")
    if found["runtime"] > found["deadline"]:
        raise SpecError(f"{field}.runtime: is longer than the deadline")
    if found["deadline"] > (found["period"] or found["deadline"]):
        raise SpecError(f"{field}.deadline: is longer than the period")


def io_priority(value: "dict[str, Any] | None") -> "int | None":
    """Return class and priority in one number (ioprio_set(2))."""
    if not value:
        return None
    kind = word(value.get("class"), "process.ioPriority.class", _IO_CLASSES)
    return kind << 13 | number(value.get("priority", 0), "process.ioPriority.priority", 0, 7)


def personality(value: "dict[str, Any] | None") -> "int | None":
    """Return the execution domain (personality(2)); the spec defines no flags for it."""
    if not value:
        return None
    domain = required(value, "domain", "linux.personality.")
    if domain not in _PERSONALITIES:
        raise SpecError(f"linux.personality.domain: {domain!r} is not LINUX or LINUX32")
    if value.get("flags"):
        raise SpecError(f"linux.personality.flags: {value['flags'][0]!r} is not known")
    return _PERSONALITIES[domain]


def memory_policy(value: "dict[str, Any] | None") -> "tuple[int, bytes] | None":
    """Return mode with flags, and the mask of nodes, empty for none (set_mempolicy(2)).

    Which of them go together is the kernel's to say.
    """
    if value is None:
        return None
    field = "linux.memoryPolicy"
    mode = word(required(value, "mode", f"{field}."), f"{field}.mode", MEMORY_MODES)
    flags = words(value.get("flags"), f"{field}.flags", MEMORY_FLAGS)
    return mode | flags, _mask(value.get("nodes") or "", f"{field}.nodes", NODES)


def affinity(value: "dict[str, Any]") -> "tuple[bytes | None, bytes | None]":
    """Return masks of processors (sched_setaffinity(2)): initial and final; None: not given."""
    initial, final = (
        _mask(value.get(name) or "", f"process.execCPUAffinity.{name}", PROCESSORS) or None
        for name in ("initial", "final")
    )
    return initial, final


def _mask(text: str, field: str, size: int) -> bytes:
    """Return a list (cpuset(7), "List format") as a mask of ``size`` bits, empty for none."""
    mask = 0
    try:
        for one in parse_list(text) if text else ():
            mask |= 1 << number(one, field, 0, size - 1)
    except SpecError:
        raise
    except ValueError as error:
        raise SpecError(f"{field}: {error}") from error
    return mask.to_bytes(size // 8, "little") if mask else b""
