"""A classic BPF machine and a naive reading of seccomp profiles, to hold compiled filters against.

Written from the kernel's documentation and the OCI runtime spec, not from the compiler: what
both agree on is right or wrong twice.
"""

from __future__ import annotations

import functools
import importlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

X86_64, X86, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
X32_BIT = 0x40000000
KILL_PROCESS, KILL_THREAD, TRAP, ERRNO = 0x80000000, 0, 0x00030000, 0x00050000
NOTIFY, TRACE, LOG, ALLOW = 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000
ENOSYS = ERRNO | 38

_ACTIONS = {
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_NOTIFY": NOTIFY,
}
# Audit value -> (name in the spec, table), x32 apart since it shares one.
_TABLES = {
    X86_64: ("SCMP_ARCH_X86_64", "x86_64"),
    X86: ("SCMP_ARCH_X86", "x86"),
    AARCH64: ("SCMP_ARCH_AARCH64", "aarch64"),
    ARM: ("SCMP_ARCH_ARM", "arm"),
}
NATIVE = {"x86_64": X86_64, "aarch64": AARCH64}


class Program:
    """A decoded program; `run` gives its answer and counts the steps."""

    def __init__(self, program: bytes) -> None:
        assert program
        assert len(program) % 8 == 0
        self.code = list(struct.iter_unpack("=HBBI", program))
        self.check()

    def check(self) -> None:
        """Assert what the kernel's verifier does: known instructions, jumps forward and inside."""
        last = len(self.code) - 1
        assert last < 4096
        for place, (code, true, false, k) in enumerate(self.code):
            if code == 0x05:
                assert place + 1 + k <= last
            elif code in (0x15, 0x25, 0x35):
                assert place + 1 + max(true, false) <= last
            elif code == 0x20:
                assert k in range(0, 64, 4)
                assert place < last
            else:
                assert code in (0x06, 0x54), hex(code)
                assert code == 0x06 or place < last
        assert self.code[last][0] == 0x06

    def run(self, arch: int, number: int, args: Sequence[int] = ()) -> int:
        """Return the SECCOMP_RET_* value for one system call."""
        data = struct.pack("<IIQ6Q", number, arch, 0x1000, *(*args, 0, 0, 0, 0, 0, 0)[:6])
        place = accumulator = self.steps = 0
        while True:
            code, true, false, k = self.code[place]
            self.steps += 1
            place += 1
            if code == 0x20:
                (accumulator,) = struct.unpack_from("<I", data, k)
            elif code == 0x54:
                accumulator &= k
            elif code == 0x05:
                place += k
            elif code == 0x06:
                return int(k)
            else:
                compare = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k}
                place += true if compare[code] else false


@functools.cache
def numbers(name: str) -> Mapping[str, int]:
    """Return the system call table ``name``."""
    module = importlib.import_module(f"knarr.runtime.seccomp.syscalls.{name}")
    table: Mapping[str, int] = module.NUMBERS
    return table


class Reading:
    """A profile on one machine, read rule by rule."""

    def __init__(self, profile: Mapping[str, Any], machine: str) -> None:
        self.default = _answer(profile["defaultAction"], profile.get("defaultErrnoRet"))
        wanted = profile.get("architectures") or []
        self.rules = profile.get("syscalls") or []
        own = (X86_64, X86) if machine == "x86_64" else (AARCH64, ARM)
        self.tables = {
            audit: _TABLES[audit][1]
            for audit in own
            if audit == NATIVE[machine] or _TABLES[audit][0] in wanted
        }
        self.x32 = "SCMP_ARCH_X32" in wanted
        lenient = self.default in (ALLOW, LOG) or self.default & 0xFFFF0000 == TRACE
        self.newer = self.default if lenient else ENOSYS

    def verdict(self, arch: int, number: int, args: Sequence[int] = ()) -> int:
        """Return the SECCOMP_RET_* value that the profile asks for."""
        if arch not in self.tables:
            return KILL_PROCESS
        if number == 0xFFFFFFFF:
            return self.newer
        table, timeless = self.tables[arch], range(0)
        if arch == X86_64 and number >= X32_BIT:
            if not self.x32:
                return KILL_PROCESS
            table, timeless = "x32", range(X32_BIT | 512, X32_BIT | 548)
        elif arch == ARM:
            timeless = range(0xF0000, 0xF0100)
        by_number = self._by_number(table)
        matching = [
            (answer, bool(conditions))
            for answer, conditions in by_number.get(number, ())
            if answer != self.default and _all_hold(conditions, args, arch in (X86, ARM))
        ]
        fixed = [answer for answer, conditional in matching if not conditional]
        for answer in fixed or [answer for answer, _ in matching]:
            return answer
        dated = [one for one in by_number if one not in timeless]
        if dated and number > max(dated) and number not in timeless:
            return self.newer
        return self.default

    @functools.cache  # noqa: B019 - a reading lives for one test
    def _by_number(self, table: str) -> dict[int, list[tuple[int, list[Any]]]]:
        result: dict[int, list[tuple[int, list[Any]]]] = {}
        for rule in self.rules:
            answer = _answer(rule["action"], rule.get("errnoRet"))
            for name in rule["names"]:
                if name in numbers(table):
                    found = result.setdefault(numbers(table)[name], [])
                    found.append((answer, rule.get("args") or []))
        return result


def _all_hold(conditions: list[Any], args: Sequence[int], narrow: bool) -> bool:
    """Conditions on one argument are alternatives, others must hold together."""
    args = (*args, 0, 0, 0, 0, 0, 0)[:6]
    results = [_holds(condition, args, narrow) for condition in conditions]
    if len({c["index"] for c in conditions}) < len(conditions):
        return any(results)
    return all(results)


def _holds(condition: Mapping[str, Any], args: Sequence[int], narrow: bool) -> bool:
    argument, value = args[condition["index"]], int(condition["value"])
    two = int(condition.get("valueTwo", 0))
    masked = condition["op"] == "SCMP_CMP_MASKED_EQ"
    compared = two if masked else value
    if narrow and compared >> 32 == 0xFFFFFFFF:
        compared &= 0xFFFFFFFF
        value &= 0xFFFFFFFF
    if masked:
        return bool(argument & value == compared)
    results: dict[str, bool] = {
        "SCMP_CMP_NE": argument != compared,
        "SCMP_CMP_LT": argument < compared,
        "SCMP_CMP_LE": argument <= compared,
        "SCMP_CMP_EQ": argument == compared,
        "SCMP_CMP_GE": argument >= compared,
        "SCMP_CMP_GT": argument > compared,
    }
    return results[condition["op"]]


def _answer(action: str, errno: int | None) -> int:
    base = _ACTIONS[action]
    return base | (1 if errno is None else errno) if base in (ERRNO, TRACE) else base
