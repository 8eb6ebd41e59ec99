"""An OCI seccomp profile becomes a BPF program.

The program looks at the architecture, then finds the call's number by bisection.
Neighbouring numbers with the same answer are one range, so that a profile of 400 calls
needs a tree of about a hundred leaves; the cut of each node lies where the calls that
programs make most often are reached in few steps.

Rules for one call: an unconditional rule decides alone (the first, if there are several);
otherwise the conditional ones are tried in the profile's order and the first match answers.
A rule that says what the default says anyway is left out. This is what libseccomp does, and
so what profiles are written for.

Calls that came after the newest one a profile names on an architecture get ENOSYS instead of
the default's error: its author cannot have judged them, and the C library falls back to older
ones on ENOSYS, not on EPERM. Names that an architecture lacks are skipped. A system call of an
architecture that the profile does not list kills the process.
"""

from bisect import bisect_left, bisect_right

from knarr.runtime.seccomp import arches, model
from knarr.runtime.seccomp.assembler import (
    DATA_ARCH,
    DATA_ARGS,
    DATA_NR,
    JEQ,
    JGE,
    JGT,
    Answer,
    Assembler,
    Label,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from knarr.runtime.seccomp.arches import Arch
    from knarr.runtime.seccomp.model import Condition, Profile, Rule

    # What a range of numbers leads to: one answer, or rules to try in order.
    Decision = int | tuple[Rule, ...]

# Part of every cache key: raise it whenever the same profile may give another program.
VERSION = 2

_BAD_ARCH = model.RET_KILL_PROCESS
_END = 1 << 32
_NO_CALL = 0xFFFFFFFF  # number -1: a tracer's way to skip a call
_WORD = 0xFFFFFFFF

_HOT = (
    "read", "write", "close", "futex", "epoll_wait", "epoll_pwait", "recvfrom", "sendto",
    "recvmsg", "sendmsg", "poll", "ppoll", "mmap", "munmap", "mprotect", "brk", "openat",
    "newfstatat", "fstat", "lseek", "ioctl", "rt_sigprocmask", "rt_sigaction", "writev", "readv",
    "clock_gettime", "nanosleep", "clock_nanosleep", "getpid", "madvise", "pread64", "pwrite64",
)  # fmt: skip
_HOT_WEIGHT = 6

# i386 reaches the socket and System V calls by one call each as well: the number inside.
# Outer call -> mask of its first argument, and the number of each call inside (net.h, ipc.h).
_MULTIPLEXED = {
    "socketcall": (0xFFFFFFFF, {
        "socket": 1, "bind": 2, "connect": 3, "listen": 4, "accept": 5, "getsockname": 6,
        "getpeername": 7, "socketpair": 8, "send": 9, "recv": 10, "sendto": 11, "recvfrom": 12,
        "shutdown": 13, "setsockopt": 14, "getsockopt": 15, "sendmsg": 16, "recvmsg": 17,
        "accept4": 18, "recvmmsg": 19, "sendmmsg": 20,
    }),
    "ipc": (0xFFFF, {
        "semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4, "msgsnd": 11, "msgrcv": 12,
        "msgget": 13, "msgctl": 14, "shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24,
    }),
}  # fmt: skip


def compile(profile: "Mapping[str, Any]", arch: str) -> bytes:  # noqa: A001 - the word for it
    """Return the filter program of an OCI ``linux.seccomp``: an array of struct sock_filter.

    ``arch`` is the machine as uname(2) names it (``x86_64``, ``aarch64``). Raises
    ValueError that names the field of a bad profile, or the machine without a table.
    """
    checked = model.parse(profile)
    selected = arches.select(arch, checked.architectures)
    by_audit: dict[int, list[Arch]] = {}
    for one in selected:
        by_audit.setdefault(one.audit, []).append(one)
    assembler = Assembler()
    other: Answer | Label = Answer(_BAD_ARCH)
    for audit, group in reversed(by_audit.items()):
        block = _block(assembler, checked, group)
        other = assembler.jump(JEQ, audit, block, other)
    if isinstance(other, Label):
        assembler.load(DATA_ARCH, other)
    return assembler.program()


def load_flags(profile: "Mapping[str, Any]") -> int:
    """Return the flags that seccomp(2) needs for this profile.

    ``SECCOMP_FILTER_FLAG_NEW_LISTENER`` (8) is among them when an action is NOTIFY: loading
    then gives a descriptor. Raises ValueError as `compile`.
    """
    return model.parse(profile).flags


def _block(assembler: Assembler, profile: "Profile", group: "list[Arch]") -> Label:
    """Write the search for one audit architecture; return where it starts."""
    ranges = _ranges(profile, group)
    hot = sorted({one.numbers[name] for one in group for name in _HOT if name in one.numbers})
    ends = [first for first, _ in ranges[1:]] + [_END]
    weights = [
        1 + _HOT_WEIGHT * (bisect_left(hot, end) - bisect_left(hot, first))
        for (first, _), end in zip(ranges, ends, strict=True)
    ]
    tree = _Search(assembler, ranges, weights, profile.default, group[0].wide)
    return assembler.load(DATA_NR, assembler.label(tree.write(0, len(ranges))))


def _ranges(profile: "Profile", group: "list[Arch]") -> "list[tuple[int, Decision]]":
    """Return (first number, decision) of each range, ascending and starting at 0."""
    background: dict[int, int] = {}
    points: dict[int, Decision] = {}
    for base, one in _spaces(group):
        if one is None:
            background[base] = _BAD_ARCH
        else:
            background.update(_background(profile, one, base))
            points.update(_decisions(profile, one))
    background[_NO_CALL] = _unknown(profile.default)
    starts = sorted(background)
    edges: dict[int, Decision] = dict(background)
    for number in points:
        if number < _NO_CALL:
            edges.setdefault(number + 1, background[starts[bisect_right(starts, number + 1) - 1]])
    edges.update(points)
    merged: list[tuple[int, Decision]] = []
    for first in sorted(edges):
        if not merged or merged[-1][1] != edges[first]:
            merged.append((first, edges[first]))
    return merged


def _spaces(group: "list[Arch]") -> "list[tuple[int, Arch | None]]":
    """Return the spaces of numbers behind one audit value: where they start, whose they are."""
    if group[0].name != "x86_64":
        return [(0, group[0])]
    return [(0, group[0]), (arches.X32_BIT, group[1] if len(group) > 1 else None)]


def _background(profile: "Profile", arch: "Arch", base: int) -> "dict[int, int]":
    """Return first number -> answer for the calls without a rule.

    Numbers grow with time but for a range of the architecture's own: what lies above the
    newest call the profile names, and not in that range, is unknown to it.
    """
    low, high = arch.timeless
    named = {arch.numbers[n] for rule in profile.rules for n in rule.names if n in arch.numbers}
    dated = [number for number in named if not low <= number < high]
    if not dated:
        return {base: profile.default}
    unknown = _unknown(profile.default)
    result = {base: profile.default, max(dated) + 1: unknown}
    if low > max(dated):
        result.update({low: profile.default, high: unknown})
    return result


def _unknown(default: int) -> int:
    """Return the answer for calls newer than the profile: ENOSYS unless the default lets pass."""
    if default & model.RET_ACTION_MASK in (model.RET_ALLOW, model.RET_LOG, model.RET_TRACE):
        return default
    return model.RET_ERRNO | model.ENOSYS


def _decisions(profile: "Profile", arch: "Arch") -> "dict[int, Decision]":
    """Return number -> decision for the calls that the profile has rules for."""
    # A call that has two names (sync_file_range2 on ARM) has the rules of both.
    first = {number: name for name, number in reversed([*arch.numbers.items()])}
    rules: dict[str, list[Rule]] = {}
    for rule in profile.rules:
        if rule.verdict != profile.default:
            for name in dict.fromkeys(first.get(arch.numbers.get(n, -1), n) for n in rule.names):
                rules.setdefault(name, []).append(rule)
    if arch.name == "x86":
        _multiplex(rules)
    result: dict[int, Decision] = {}
    for name, candidates in rules.items():
        if name in arch.numbers:
            fixed = [rule.verdict for rule in candidates if not rule.conditions]
            result[arch.numbers[name]] = fixed[0] if fixed else tuple(candidates)
    return result


def _multiplex(rules: "dict[str, list[Rule]]") -> None:
    """Give socketcall(2) and ipc(2) what unconditional rules say of the calls inside them.

    Rules that compare arguments cannot follow: those lie in memory, out of a filter's sight.
    """
    for outer, (mask, inner) in _MULTIPLEXED.items():
        for name, number in inner.items():
            fixed = [rule.verdict for rule in rules.get(name, ()) if not rule.conditions]
            if fixed:
                condition = model.Condition(0, "SCMP_CMP_MASKED_EQ", mask, number)
                rules.setdefault(outer, []).append(model.Rule((outer,), fixed[0], (condition,)))


class _Search:
    """Bisection over ranges of numbers; the answer of a single call's rules hangs below."""

    __slots__ = ("_assembler", "_default", "_ranges", "_weights", "_wide")

    def __init__(
        self,
        assembler: Assembler,
        ranges: "list[tuple[int, Decision]]",
        weights: "list[int]",
        default: int,
        wide: bool,
    ) -> None:
        self._assembler = assembler
        self._ranges = ranges
        self._weights = weights
        self._default = default
        self._wide = wide

    def write(self, start: int, stop: int) -> "Answer | Label":
        """Write the search over ``ranges[start:stop]`` and return where it starts."""
        if stop - start == 1:
            decision = self._ranges[start][1]
            if isinstance(decision, int):
                return Answer(decision)
            return _rules(self._assembler, decision, self._default, self._wide)
        cut = self._cut(start, stop)
        upper = self.write(cut, stop)
        lower = self.write(start, cut)
        return self._assembler.jump(JGE, self._ranges[cut][0], upper, lower)

    def _cut(self, start: int, stop: int) -> int:
        """Return where to part the ranges so that both sides weigh about the same."""
        total, left, best = sum(self._weights[start:stop]), 0, (-1, start + 1)
        for index in range(start, stop - 1):
            left += self._weights[index]
            distance = abs(total - 2 * left)
            if best[0] < 0 or distance < best[0]:
                best = (distance, index + 1)
        return best[1]


def _rules(
    assembler: Assembler, rules: "tuple[Rule, ...]", default: int, wide: bool
) -> "Answer | Label":
    """Write conditional rules, first match answers; return where they start."""
    following: Answer | Label = Answer(default)
    for rule in reversed(rules):
        matched: Answer | Label = Answer(rule.verdict)
        for condition in reversed(rule.conditions):
            matched = _condition(assembler, condition, matched, following, wide)
        following = matched
    return following


def _condition(
    assembler: Assembler,
    condition: "Condition",
    true: "Answer | Label",
    false: "Answer | Label",
    wide: bool,
) -> "Answer | Label":
    """Write one comparison; a 64-bit one looks at the high word first, then at the low one."""
    low_offset = DATA_ARGS + 8 * condition.index  # both machines are little-endian
    operator, mask, value = condition.operator, (1 << 64) - 1, condition.value
    if operator == "SCMP_CMP_MASKED_EQ":
        mask, value = condition.value, condition.value_two
    if operator in ("SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE"):
        true, false = false, true
    if not wide:
        if value >> 32 == _WORD:  # a negative number of 32 bits, written with 64
            value, mask = value & _WORD, mask & _WORD
        if value >> 32:  # more than such an argument can be: never equal, never as much
            return false
    # What is left to write is "equal", "at least" or "more than".
    test = {"SCMP_CMP_GE": JGE, "SCMP_CMP_LT": JGE, "SCMP_CMP_GT": JGT, "SCMP_CMP_LE": JGT}.get(
        operator, JEQ
    )
    low = assembler.load(low_offset, assembler.jump(test, value & _WORD, true, false), mask & _WORD)
    high_mask, high_value = mask >> 32, value >> 32
    if not wide or not (high_mask or high_value):
        return low
    high = assembler.jump(JEQ, high_value, low, false)
    if test != JEQ:
        high = assembler.jump(JGT, high_value, true, high)
    return assembler.load(low_offset + 4, high, high_mask)
