"""``process`` of an OCI spec becomes the final leg, and steps of an exec. Pure."""

from knarr.kernel.seccomp import FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_TSYNC, FLAG_WAIT_KILLABLE_RECV
from knarr.runtime import settings
from knarr.runtime.fields import SpecError, number, required, words
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
_SHORT = (1 << 16) - 1  # of struct winsize
_SECCOMP_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": FLAG_WAIT_KILLABLE_RECV,
}


def final_leg(process: "dict[str, Any]", linux: "dict[str, Any]") -> FinalLeg:
    """Return the final leg for ``process`` of a spec; also used for exec. Raises SpecError."""
    args = tuple(process.get("args") or ())
    if not args:
        raise SpecError("process.args: is empty")
    cwd = required(process, "cwd", "process.")
    if not cwd.startswith("/"):
        raise SpecError(f"process.cwd: {cwd!r} is not absolute")
    capabilities = process.get("capabilities") or {}
    flags = (linux.get("seccomp") or {}).get("flags")
    umask = (process.get("user") or {}).get("umask", 0o022)
    return FinalLeg(
        affinity=settings.affinity(process.get("execCPUAffinity") or {}),
        args=args,
        env=tuple(process.get("env") or ()),
        cwd=cwd,
        capabilities={
            name: mask_of(capabilities.get(name) or ())
            for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
        },
        rlimits=settings.rlimits(process),
        no_new_privileges=bool(process.get("noNewPrivileges")),
        scheduler=settings.scheduler(process.get("scheduler")),
        io_priority=settings.io_priority(process.get("ioPriority")),
        personality=settings.personality(linux.get("personality")),
        memory_policy=settings.memory_policy(linux.get("memoryPolicy")),
        seccomp_flags=words(flags, "linux.seccomp.flags", _SECCOMP_FLAGS),
        terminal=bool(process.get("terminal")),
        lsm_label=_lsm_label(process),
        umask=number(umask, "process.user.umask", 0, 0o777),
    )


def exec_steps(process: "dict[str, Any]") -> "tuple[Step, ...]":
    """Return the steps that a further process of a container needs before its gate."""
    user = user_of(process)
    if not process.get("terminal"):
        return (user,)
    from knarr.runtime.steps.devices import JoinConsole

    return JoinConsole(*console_size(process)), user


def user_of(process: "dict[str, Any]") -> User:
    """Return who the process is to be: with the groups that are named, not that of ``gid``."""
    user = process.get("user") or {}
    return User(
        user.get("uid", 0),
        user.get("gid", 0),
        tuple(user.get("additionalGids") or ()),
        user.get(USER_NAME),
        tuple(user.get(GROUPS) or ()),
    )


def console_size(process: "dict[str, Any]") -> "tuple[int, int]":
    """Return rows and columns of a terminal."""
    size = process.get("consoleSize") or {}
    rows = number(size.get("height", 0), "process.consoleSize.height", 0, _SHORT)
    return rows, number(size.get("width", 0), "process.consoleSize.width", 0, _SHORT)


def unknown_capabilities(sets: "dict[str, list[str]]", leg: FinalLeg) -> "tuple[str, ...]":
    """Return a warning for each name that is left out (runtime-spec config.md, "capabilities")."""
    for kind, names in sets.items():
        if leg.capabilities.get(kind, 0).bit_count() != len(names or ()):
            break
    else:
        return ()
    unknown = sorted({str(name) for names in sets.values() for name in names or ()} - set(NUMBERS))
    return tuple(f"process.capabilities: {name!r} is not known and left out" for name in unknown)


def withheld_capabilities(leg: FinalLeg, grantable: int) -> "tuple[str, ...]":
    """Return a warning for each reason that known capabilities are not granted for.

    grantable: those that the maker may pass on (``caps.permitted``).
    """
    masks = leg.capabilities
    asked = 0
    for mask in masks.values():
        asked |= mask
    lost = asked & ~grantable
    bare = masks["ambient"] & ~(masks["permitted"] & masks["inheritable"])
    found = []
    for field, mask, reason in (
        ("process.capabilities", lost, "ours to grant"),
        ("process.capabilities.ambient", bare & ~lost, "permitted and inheritable as well"),
    ):
        names = [name for name, number in NUMBERS.items() if mask >> number & 1]
        if names:
            verb = "is" if len(names) == 1 else "are"
            found.append(f"{field}: {', '.join(names)} {verb} not {reason}, and left out")
    return tuple(found)


def _lsm_label(process: "dict[str, Any]") -> "tuple[str, str] | None":
    """Return module and text for the security module's exec attribute."""
    if process.get("apparmorProfile") and process.get("selinuxLabel"):
        raise SpecError("process.selinuxLabel: cannot be combined with apparmorProfile")
    if process.get("apparmorProfile"):
        return "apparmor", f"exec {process['apparmorProfile']}"
    if process.get("selinuxLabel"):
        return "selinux", process["selinuxLabel"]
    return None
