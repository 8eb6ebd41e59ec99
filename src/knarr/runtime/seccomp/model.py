"""``linux.seccomp`` of the OCI runtime spec, read strictly: actions, operators, rules.

The JSON names become the numbers the kernel wants (seccomp(2)). A profile that
says something we do not know is refused: a filter that is looser than its
author meant would be found out too late.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

RET_KILL_PROCESS = 0x80000000
RET_KILL_THREAD = 0x00000000
RET_TRAP = 0x00030000
RET_ERRNO = 0x00050000
RET_USER_NOTIF = 0x7FC00000
RET_TRACE = 0x7FF00000
RET_LOG = 0x7FFC0000
RET_ALLOW = 0x7FFF0000
RET_ACTION_MASK = 0xFFFF0000

ACTIONS = {
    "SCMP_ACT_KILL": RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": RET_KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": RET_KILL_THREAD,
    "SCMP_ACT_TRAP": RET_TRAP,
    "SCMP_ACT_ERRNO": RET_ERRNO,
    "SCMP_ACT_TRACE": RET_TRACE,
    "SCMP_ACT_ALLOW": RET_ALLOW,
    "SCMP_ACT_LOG": RET_LOG,
    "SCMP_ACT_NOTIFY": RET_USER_NOTIF,
}
_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
EPERM = 1
ENOSYS = 38
MAX_ERRNO = 4095  # the kernel would silently use this for anything larger

OPERATORS = (
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)

FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
FLAG_NEW_LISTENER = 8
_TSYNC_ESRCH = 16

_U64 = (1 << 64) - 1


class Condition:
    """One comparison of a 64-bit argument; all of a rule's must hold.

    MASKED_EQ means ``argument & value == value_two``; the other operators ignore value_two.
    """

    __slots__ = ("index", "operator", "value", "value_two")

    def __init__(self, index: int, operator: str, value: int, value_two: int = 0) -> None:
        self.index = index
        self.operator = operator
        self.value = value
        self.value_two = value_two


class Rule:
    """What to answer (a SECCOMP_RET_* value) for these calls when all conditions hold."""

    __slots__ = ("conditions", "names", "verdict")

    def __init__(
        self, names: "tuple[str, ...]", verdict: int, conditions: "tuple[Condition, ...]"
    ) -> None:
        self.names = names
        self.verdict = verdict
        self.conditions = conditions


class Profile:
    """A checked profile: default answer, architectures and rules in order."""

    __slots__ = ("architectures", "default", "flags", "rules")

    def __init__(
        self, default: int, architectures: "tuple[str, ...]", rules: "list[Rule]", flags: int
    ) -> None:
        self.default = default
        self.architectures = architectures
        self.rules = rules
        self.flags = flags


def parse(profile: "Mapping[str, Any]") -> Profile:
    """Return ``linux.seccomp`` checked and in numbers (runtime-spec, config-linux.md).

    Raises ValueError that names the field for anything unknown or out of range, and for
    an errnoRet beside an action that has no error number.
    """
    if not profile.get("defaultAction"):
        raise ValueError("seccomp: defaultAction is missing")
    default = _verdict(profile["defaultAction"], profile.get("defaultErrnoRet"), "defaultErrnoRet")
    if default == RET_USER_NOTIF:
        raise ValueError("seccomp: SCMP_ACT_NOTIFY cannot be the default action")
    rules = [rule for entry in profile.get("syscalls") or () for rule in _rules(entry)]
    notify = [rule for rule in rules if rule.verdict == RET_USER_NOTIF]
    for name in ("write", "sendmsg"):
        # Whoever hands the listener over, here or elsewhere, would wait for itself.
        if any(name in rule.names for rule in notify):
            raise ValueError(f"seccomp: SCMP_ACT_NOTIFY cannot be used for the {name} system call")
    flags = _flags(profile)
    if notify:
        flags |= FLAG_NEW_LISTENER | (_TSYNC_ESRCH if flags & 1 else 0)
    return Profile(default, tuple(profile.get("architectures") or ()), rules, flags)


def _flags(profile: "Mapping[str, Any]") -> int:
    """Return the flags of seccomp(2) that the profile names; none when it names none."""
    flags = 0
    for name in profile.get("flags") or ():
        if name not in FLAGS:
            raise ValueError(f"seccomp: unknown flag {name!r}")
        flags |= FLAGS[name]
    return flags


def _verdict(action: str, errno: "int | None", field: str) -> int:
    number = ACTIONS.get(action)
    if number is None:
        raise ValueError(f"seccomp: unknown action {action!r}")
    if action not in _WITH_ERRNO:
        if errno is not None:
            raise ValueError(f"seccomp: {field} is not possible with {action}")
        return number
    value = EPERM if errno is None else errno
    limit = MAX_ERRNO if number == RET_ERRNO else 0xFFFF
    if type(value) is not int or not 0 <= value <= limit:
        raise ValueError(f"seccomp: {field} {value!r} is not a number from 0 to {limit}")
    return number | value


def _rules(entry: "Mapping[str, Any]") -> "list[Rule]":
    """Return the rules of one ``syscalls[]`` entry.

    Comparisons of different arguments must all hold. When one argument is compared more
    than once, each comparison is a rule of its own, as all runtimes built on libseccomp do.
    """
    names = entry.get("names")
    if not isinstance(names, list | tuple) or not names:
        raise ValueError("seccomp: syscalls[].names is missing")
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError("seccomp: syscalls[].names holds an empty name")
    verdict = _verdict(entry.get("action", ""), entry.get("errnoRet"), "errnoRet")
    conditions = [_condition(argument) for argument in entry.get("args") or ()]
    if len({condition.index for condition in conditions}) < len(conditions):
        return [Rule(tuple(names), verdict, (condition,)) for condition in conditions]
    return [Rule(tuple(names), verdict, tuple(conditions))]


def _condition(argument: "Mapping[str, Any]") -> Condition:
    index, operator = argument.get("index"), argument.get("op")
    value, value_two = argument.get("value", 0), argument.get("valueTwo", 0)
    if type(index) is not int or not 0 <= index <= 5:
        raise ValueError(f"seccomp: args[].index {index!r} is not a number from 0 to 5")
    if operator not in OPERATORS:
        raise ValueError(f"seccomp: unknown operator {operator!r}")
    for field, number in (("value", value), ("valueTwo", value_two)):
        if type(number) is not int or not 0 <= number <= _U64:
            raise ValueError(f"seccomp: args[].{field} {number!r} is not an unsigned 64-bit number")
    return Condition(index, operator, value, value_two)
