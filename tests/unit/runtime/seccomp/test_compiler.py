"""Compiled filters answer as the profile says, for every call and around every boundary."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.engine.security.seccomp_default import default_profile
from knarr.runtime.seccomp import compile, load_flags  # noqa: A004
from knarr.spec import capabilities
from tests.support import bpf
from tests.support.bpf import AARCH64, ALLOW, ARM, ENOSYS, ERRNO, KILL_PROCESS, X32_BIT, X86, X86_64

EPERM = ERRNO | 1
ALL_ARCHES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}
AUDITS = {"x86_64": (X86_64, X86), "aarch64": (AARCH64, ARM)}
ARGUMENTS: tuple[tuple[int, ...], ...] = (
    (),
    (1, 1, 1, 1, 1, 1),
    (38,), (39,), (40,), (41,), (8,), (0x20000,), (0x20008,), (0xFFFFFFFF,), ((1 << 64) - 1,),
    (0x7E020000,), (0x10000000, 0x7E020000), (0x01200011,), (1 << 32,), ((1 << 32) | 39,),
)  # fmt: skip


def allow(*names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **more}


def profile(*rules: dict[str, Any], default: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    return {"defaultAction": default, "syscalls": list(rules), **more}


def compare(index: int, op: str, value: int, two: int = 0) -> dict[str, Any]:
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": two}


def run(value: dict[str, Any], number: int, *args: int, arch: int = X86_64) -> int:
    return bpf.Program(compile(value, "x86_64")).run(arch, number, args)


def all_numbers(machine: str) -> list[tuple[int, int]]:
    """Return every (audit value, number) worth asking about: the tables and what lies around."""
    spaces = [(audit, range(700)) for audit in AUDITS[machine]]
    if machine == "x86_64":
        spaces.append((X86_64, range(X32_BIT - 1, X32_BIT + 700)))
        spaces.append((X86, range(X32_BIT - 1, X32_BIT + 2)))
    else:
        spaces.append((ARM, range(0xF0000 - 1, 0xF0102)))
    spaces += [(audit, range(0xFFFFFFFD, 0x100000000)) for audit in AUDITS[machine]]
    spaces.append((0x12345678, range(3)))
    return [(audit, number) for audit, numbers in spaces for number in numbers]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(
    "caps", [capabilities.DEFAULT, (), capabilities.NAMES], ids=["default", "none", "all"]
)
def test_default_profile_for_every_call(machine: str, caps: tuple[str, ...]) -> None:
    value = default_profile(caps, machine)
    program = bpf.Program(compile(value, machine))
    looked_into = {
        table[name] | bit
        for rule in value["syscalls"]
        for name in rule["names"]
        for table in map(bpf.numbers, ("x86_64", "x86", "x32", "aarch64", "arm"))
        if rule.get("args") and name in table
        for bit in (0, X32_BIT)
    }
    reading = bpf.Reading(value, machine)
    for audit, number in all_numbers(machine):
        for args in ARGUMENTS if number in looked_into else ARGUMENTS[:1]:
            if audit not in (X86, ARM) or not any(word >> 32 for word in args):
                expected = reading.verdict(audit, number, args)
                assert program.run(audit, number, args) == expected, (hex(audit), number, args)


def test_default_profile_is_small_and_quick() -> None:
    program = bpf.Program(compile(default_profile(capabilities.DEFAULT, "x86_64"), "x86_64"))
    assert len(program.code) < 500
    table = bpf.numbers("x86_64")
    for name in ("read", "write", "close", "futex", "epoll_wait", "recvmsg", "mmap", "openat"):
        assert program.run(X86_64, table[name]) == ALLOW
        assert program.steps <= 12, name


NAMES = sorted({*bpf.numbers("x86_64"), *bpf.numbers("arm"), "no_such_call"})
WORDS = st.sampled_from(
    [0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, 5 << 32, (1 << 64) - 1,
     0xFFFFFFFF00000000]
) | st.integers(0, (1 << 64) - 1)  # fmt: skip
ACTIONS = (
    "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG",
)  # fmt: skip
OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")


@st.composite
def actions(draw: st.DrawFn, key: str, error: str) -> dict[str, Any]:
    action = draw(st.sampled_from(ACTIONS))
    result: dict[str, Any] = {key: action}
    if action in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") and draw(st.booleans()):
        result[error] = draw(st.integers(0, 4095))
    return result


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=12))
    args = draw(
        st.lists(
            st.builds(compare, st.integers(0, 5), st.sampled_from(OPERATORS), WORDS, WORDS),
            max_size=3,
        )
    )
    return {"names": names, **draw(actions("action", "errnoRet")), "args": args}


@st.composite
def profiles(draw: st.DrawFn, machine: str) -> dict[str, Any]:
    arches = draw(st.lists(st.sampled_from(ALL_ARCHES[machine]), unique=True))
    value = draw(actions("defaultAction", "defaultErrnoRet"))
    return {**value, "architectures": arches, "syscalls": draw(st.lists(rules(), max_size=12))}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@settings(max_examples=60)
@given(data=st.data())
def test_any_profile_for_any_call(machine: str, data: st.DataObject) -> None:
    value = data.draw(profiles(machine))
    program = bpf.Program(compile(value, machine))
    named = {name for rule in value["syscalls"] for name in rule["names"]}
    tables = ("x86_64", "x86", "x32") if machine == "x86_64" else ("aarch64", "arm")
    around = {
        (AUDITS[machine][table in ("x86", "arm")], bpf.numbers(table)[name] + offset)
        for table in tables
        for name in named
        if name in bpf.numbers(table)
        for offset in (-1, 0, 1)
    }
    around |= {(audit, n) for audit in (*AUDITS[machine], 7) for n in (0, 471, X32_BIT, 0xFFFFFFFF)}
    values = [
        c[k] for rule in value["syscalls"] for c in rule["args"] for k in ("value", "valueTwo")
    ]
    words = sorted(range_64(values))
    skipped = {bpf.numbers("x86")[name] for name in ("socketcall", "ipc")}
    reading = bpf.Reading(value, machine)
    drawn = data.draw(st.lists(st.tuples(*[WORDS] * 6), min_size=3, max_size=3))
    for audit, number in sorted(around):
        if number < 0 or (audit == X86 and number in skipped):
            continue
        for args in [(w,) * 6 for w in words[:12]] + drawn:
            args = tuple(a & 0xFFFFFFFF for a in args) if audit in (X86, ARM) else args
            expected = reading.verdict(audit, number, args)
            assert program.run(audit, number, args) == expected


def range_64(values: list[int]) -> set[int]:
    """Return what of the neighbours of ``values`` fits 64 bits."""
    near = {w for v in values for w in (v - 1, v, v + 1, v & 0xFFFFFFFF)}
    return {w for w in near if 0 <= w < 1 << 64}


@pytest.mark.parametrize(
    ("op", "holds", "fails"),
    [
        ("EQ", [5 << 32 | 7], [7, 5 << 32, 5 << 32 | 6, 6 << 32 | 7]),
        ("NE", [7, 5 << 32 | 6, 0], [5 << 32 | 7]),
        ("LT", [5 << 32 | 6, 4 << 32 | 9, 0], [5 << 32 | 7, 6 << 32]),
        ("LE", [5 << 32 | 7, 4 << 32 | 9], [5 << 32 | 8, 6 << 32]),
        ("GE", [5 << 32 | 7, 6 << 32, (1 << 64) - 1], [5 << 32 | 6, 4 << 32 | 9]),
        ("GT", [5 << 32 | 8, 6 << 32], [5 << 32 | 7, 4 << 32 | 9, 0]),
    ],
)
def test_comparisons_look_at_all_64_bits(op: str, holds: list[int], fails: list[int]) -> None:
    value = profile(allow("read", args=[compare(2, op, 5 << 32 | 7)]))
    for argument in holds:
        assert run(value, 0, 0, 0, argument) == ALLOW
    for argument in fails:
        assert run(value, 0, 0, 0, argument) == EPERM


def test_masked_comparison() -> None:
    value = profile(allow("clone", args=[compare(0, "MASKED_EQ", 0x7E020000, 0)]))
    assert run(value, 56, 0x01200011) == ALLOW
    assert run(value, 56, 0xFFFFFFFF00000011) == ALLOW  # the mask does not look there
    assert run(value, 56, 0x10000000) == EPERM
    high = profile(allow("clone", args=[compare(0, "MASKED_EQ", 0xFF << 32, 0x12 << 32)]))
    assert run(high, 56, 0x12 << 32 | 99) == ALLOW
    assert run(high, 56, 0x13 << 32 | 99) == EPERM
    never = profile(allow("clone", args=[compare(0, "MASKED_EQ", 1, 2)]))
    assert run(never, 56, 2) == EPERM


def test_conditions_on_different_arguments_must_all_hold() -> None:
    value = profile(allow("read", args=[compare(0, "EQ", 1), compare(1, "EQ", 2)]))
    assert run(value, 0, 1, 2) == ALLOW
    assert run(value, 0, 1, 3) == EPERM


def test_conditions_on_one_argument_are_alternatives() -> None:
    value = profile(allow("read", args=[compare(0, "EQ", 1), compare(0, "EQ", 2)]))
    assert [run(value, 0, word) for word in (1, 2, 3)] == [ALLOW, ALLOW, EPERM]


def test_unconditional_rule_beats_conditional_ones_in_any_order() -> None:
    narrow = {"names": ["read"], "action": "SCMP_ACT_TRAP", "args": [compare(0, "EQ", 1)]}
    assert run(profile(narrow, allow("read")), 0, 1) == ALLOW
    assert run(profile(allow("read"), narrow), 0, 1) == ALLOW


@pytest.mark.parametrize("turned", [False, True])
def test_two_names_of_one_call_share_their_rules(turned: bool) -> None:
    """ARM's call 341 is sync_file_range2 and arm_sync_file_range."""
    narrow = {
        "names": ["sync_file_range2"],
        "action": "SCMP_ACT_TRAP",
        "args": [compare(0, "EQ", 1)],
    }
    both = [narrow, allow("arm_sync_file_range", "sync_file_range2")]
    value = profile(*(reversed(both) if turned else both), architectures=["SCMP_ARCH_ARM"])
    program = bpf.Program(compile(value, "aarch64"))
    assert [program.run(ARM, 341, (word,)) for word in (1, 2)] == [ALLOW, ALLOW]
    value = profile(narrow, architectures=["SCMP_ARCH_ARM"])
    value["syscalls"].append(allow("arm_sync_file_range", args=[compare(0, "LE", 2)]))
    program = bpf.Program(compile(value, "aarch64"))
    assert program.run(ARM, 341, (2,)) == ALLOW
    assert program.run(ARM, 341, (1,)) == bpf.TRAP
    assert program.run(ARM, 341, (3,)) == EPERM


def test_first_match_of_conditional_rules_answers() -> None:
    first = {"names": ["read"], "action": "SCMP_ACT_TRAP", "args": [compare(0, "GT", 5)]}
    second = allow("read", args=[compare(0, "GT", 3)])
    assert run(profile(first, second), 0, 9) == bpf.TRAP
    assert run(profile(first, second), 0, 4) == ALLOW


def test_rule_that_repeats_the_default_is_left_out() -> None:
    same = {"names": ["read"], "action": "SCMP_ACT_ERRNO"}
    assert run(profile(same, allow("read", args=[compare(0, "EQ", 1)])), 0, 1) == ALLOW
    other = {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}
    assert run(profile(other, allow("read", args=[compare(0, "EQ", 1)])), 0, 1) == ERRNO | 13


def test_calls_newer_than_the_profile_do_not_exist() -> None:
    value = profile(allow("read", "openat2"))
    assert run(value, 436) == EPERM
    assert run(value, 437) == ALLOW
    assert run(value, 438) == ENOSYS
    assert run(value, 0xFFFFFFFF) == ENOSYS


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_lenient_default_lets_newer_calls_through(default: str) -> None:
    value = profile({"names": ["read"], "action": "SCMP_ACT_TRAP"}, default=default)
    assert run(value, 400) == run(value, 1) == run(value, 0xFFFFFFFF)
    assert run(value, 0) == bpf.TRAP


def test_killing_default_still_says_enosys_to_newer_calls() -> None:
    value = profile(allow("read"), default="SCMP_ACT_KILL_PROCESS")
    assert run(value, 1) == ENOSYS
    assert run(profile(allow("write"), default="SCMP_ACT_KILL_PROCESS"), 0) == KILL_PROCESS


def test_private_numbers_of_arm_are_no_measure_of_age() -> None:
    value = profile(allow("read", "set_tls"), architectures=["SCMP_ARCH_ARM"])
    program = bpf.Program(compile(value, "aarch64"))
    assert program.run(ARM, 0xF0005) == ALLOW
    assert program.run(ARM, 0xF0004) == EPERM
    assert program.run(ARM, 400) == ENOSYS
    assert program.run(ARM, 0xF0200) == ENOSYS


def test_profile_without_rules_is_its_default() -> None:
    assert run({"defaultAction": "SCMP_ACT_ALLOW"}, 300) == ALLOW
    assert run({"defaultAction": "SCMP_ACT_ERRNO"}, 300) == EPERM
    assert run({"defaultAction": "SCMP_ACT_ALLOW"}, 0, arch=X86) == KILL_PROCESS


def test_x32_calls_need_the_architecture() -> None:
    value = profile(allow("read"))
    assert run(value, X32_BIT) == KILL_PROCESS
    assert run({**value, "architectures": ["SCMP_ARCH_X32"]}, X32_BIT) == ALLOW
    assert run({**value, "architectures": ["SCMP_ARCH_X32"]}, X32_BIT | 1) == ENOSYS
    # readv has a number of its own there, and the one of x86_64 means nothing
    both = profile(allow("readv"), architectures=["SCMP_ARCH_X32"])
    assert run(both, X32_BIT | 515) == ALLOW
    assert run(both, X32_BIT | 19) == EPERM


def test_own_architecture_needs_no_mention_and_foreign_ones_are_harmless() -> None:
    value = profile(allow("read"), architectures=["SCMP_ARCH_X86", "SCMP_ARCH_S390X"])
    assert run(value, 0) == ALLOW
    assert run(value, 3, arch=X86) == ALLOW
    assert run(value, 0, arch=0x80000016) == KILL_PROCESS


def test_inner_calls_of_socketcall_and_ipc_follow_unconditional_rules() -> None:
    table = bpf.numbers("x86")
    denied = {"names": ["socket", "shmget"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}
    value = profile(denied, default="SCMP_ACT_ALLOW", architectures=["SCMP_ARCH_X86"])
    assert run(value, table["socketcall"], 1, arch=X86) == ERRNO | 13
    assert run(value, table["socketcall"], 2, arch=X86) == ALLOW
    assert run(value, table["ipc"], 23, arch=X86) == ERRNO | 13
    assert run(value, table["ipc"], 1 << 16 | 23, arch=X86) == ERRNO | 13  # version in front
    outright = profile(denied, allow("socketcall"), architectures=["SCMP_ARCH_X86"])
    assert run(outright, table["socketcall"], 1, arch=X86) == ALLOW


def test_narrow_arguments() -> None:
    def on_x86(op: str, value: int, argument: int) -> int:
        rule = allow("read", args=[compare(0, op, value)])
        return run(profile(rule, architectures=["SCMP_ARCH_X86"]), 3, argument, arch=X86)

    assert on_x86("EQ", (1 << 64) - 1, 0xFFFFFFFF) == ALLOW  # minus one
    assert on_x86("EQ", 1 << 32, 0) == EPERM
    assert on_x86("NE", 1 << 32, 0) == ALLOW
    assert on_x86("GE", 1 << 32, 0xFFFFFFFF) == EPERM
    assert on_x86("LT", 1 << 32, 0xFFFFFFFF) == ALLOW


def test_many_answers_reach_across_long_programs() -> None:
    names = sorted(bpf.numbers("x86_64"), key=bpf.numbers("x86_64").__getitem__)[::2]
    each = [
        {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 100 + index,
         "args": [compare(0, "EQ", index), compare(1, "LT", 3 << 32)]}
        for index, name in enumerate(names)
    ]  # fmt: skip
    value = profile(*each)
    program = bpf.Program(compile(value, "x86_64"))
    for index, name in enumerate(names):
        number = bpf.numbers("x86_64")[name]
        assert program.run(X86_64, number, (index, 0)) == ERRNO | 100 + index
        assert program.run(X86_64, number, (index + 1, 0)) == EPERM


def test_program_that_is_too_long_is_refused() -> None:
    rules_ = [allow("read", args=[compare(0, "EQ", n << 33)]) for n in range(1300)]
    with pytest.raises(ValueError, match="more than 4096 instructions"):
        compile(profile(*rules_), "x86_64")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"defaultAction": ""}, "defaultAction is missing"),
        ({"defaultAction": "SCMP_ACT_WHAT"}, "unknown action"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "cannot be the default"),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1},
            "defaultErrnoRet is not possible",
        ),
        ({"defaultErrnoRet": 4096}, "not a number from 0 to 4095"),
        ({"defaultErrnoRet": -1}, "not a number"),
        ({"architectures": ["SCMP_ARCH_VAX"]}, "unknown architecture"),
        ({"flags": ["SECCOMP_FILTER_FLAG_WHAT"]}, "unknown flag"),
        ({"syscalls": [{"action": "SCMP_ACT_ALLOW"}]}, "names is missing"),
        ({"syscalls": [allow()]}, "names is missing"),
        ({"syscalls": [allow("")]}, "empty name"),
        ({"syscalls": [allow("read", errnoRet=5)]}, "errnoRet is not possible"),
        ({"syscalls": [{"names": ["read"]}]}, "unknown action"),
        ({"syscalls": [allow("read", args=[compare(6, "EQ", 0)])]}, "index"),
        ({"syscalls": [allow("read", args=[compare(0, "XX", 0)])]}, "unknown operator"),
        ({"syscalls": [allow("read", args=[compare(0, "EQ", -1)])]}, "unsigned 64-bit"),
        ({"syscalls": [allow("read", args=[compare(0, "EQ", 1 << 64)])]}, "unsigned 64-bit"),
        ({"syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}, "write"),
    ],
)
def test_bad_profiles_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile({"defaultAction": "SCMP_ACT_ERRNO", **change}, "x86_64")


def test_machine_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no system call table for machine 'vax'"):
        compile(profile(allow("read")), "vax")


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        ({}, 0),
        ({"flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]}, 4),
        ({"flags": []}, 0),
        ({"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]}, 3),
        ({"syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]}, 8),
        (
            {
                "flags": ["SECCOMP_FILTER_FLAG_TSYNC"],
                "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}],
            },
            25,
        ),
    ],
)
def test_load_flags(change: dict[str, Any], flags: int) -> None:
    assert load_flags({"defaultAction": "SCMP_ACT_ALLOW", **change}) == flags
