"""The generated program, carried out by an interpreter of the few instructions it may use."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.cgroups import devicerules
from knarr.cgroups.devicerules import MKNOD, READ, WRITE
from knarr.cgroups.v2 import devices

Rule = tuple[bool, str, int | None, int | None, int]
TYPES = {"b": 1, "c": 2}


def interpret(program: bytes, kind: str, major: int, minor: int, access: int) -> bool:
    context = struct.pack("<III", access << 16 | TYPES[kind], major, minor)
    code = list(struct.iter_unpack("<BBhi", program))
    registers = [0] * 10
    at = 0
    while True:
        opcode, both, offset, value = code[at]
        to, source = both & 15, both >> 4
        at += 1
        if opcode == 0x61:
            (registers[to],) = struct.unpack_from("<I", context, offset)
        elif opcode == 0xBF:
            registers[to] = registers[source]
        elif opcode == 0x54:
            registers[to] &= value & 0xFFFFFFFF
        elif opcode == 0x74:
            registers[to] >>= value
        elif opcode == 0xB4:
            registers[to] = value
        elif opcode == 0x55:
            at += offset if registers[to] != value else 0
        elif opcode == 0x45:
            at += offset if registers[to] & value else 0
        elif opcode == 0x05:
            at += offset
        elif opcode == 0x95:
            return bool(registers[0])
        else:
            raise AssertionError(f"unknown instruction {opcode:#x}")


def unreachable(program: bytes) -> set[int]:
    """Instructions that no path reaches: the kernel's verifier refuses them."""
    code = list(struct.iter_unpack("<BBhi", program))
    seen: set[int] = set()
    todo = [0]
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        opcode, _, offset, _ = code[at]
        if opcode == 0x95:
            continue
        if opcode in (0x55, 0x45, 0x05):
            todo.append(at + 1 + offset)
        if opcode != 0x05:
            todo.append(at + 1)
    return set(range(len(code))) - seen


def build(*entries: dict[str, Any]) -> bytes:
    return devices.program(devicerules.parse({"devices": list(entries)}))


NULL = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}


def test_only_what_is_listed_is_allowed() -> None:
    program = build({"allow": False}, NULL, {"allow": True, "type": "c", "access": "m"})
    assert interpret(program, "c", 1, 3, READ | WRITE)
    assert interpret(program, "c", 1, 3, READ)
    assert interpret(program, "c", 9, 9, MKNOD)
    assert interpret(program, "c", 1, 3, MKNOD | READ)
    assert not interpret(program, "c", 1, 5, READ)
    assert not interpret(program, "b", 1, 3, READ)
    assert not interpret(program, "b", 9, 9, MKNOD)


def test_the_last_rule_wins() -> None:
    deny_write = {"allow": False, "type": "c", "major": 1, "minor": 3, "access": "w"}
    program = build({"allow": True}, deny_write)
    assert interpret(program, "c", 1, 3, READ)
    assert not interpret(program, "c", 1, 3, READ | WRITE)
    assert interpret(program, "b", 8, 0, READ | WRITE | MKNOD)
    assert interpret(build(deny_write, {"allow": True}), "c", 1, 3, WRITE)


@st.composite
def rule_lists(draw: st.DrawFn) -> list[Rule]:
    number = st.one_of(st.none(), st.integers(0, 2))
    narrow = st.tuples(st.booleans(), st.sampled_from("bc"), number, number, st.integers(1, 7))
    wide = st.tuples(st.booleans(), st.just("a"), st.none(), st.none(), st.just(7))
    return draw(st.lists(st.one_of(narrow, narrow, narrow, wide), min_size=1, max_size=8))


@given(rule_lists(), st.sampled_from("bc"), st.integers(0, 3), st.integers(0, 3), st.integers(1, 7))
def test_the_program_means_what_the_rules_mean(
    rules: list[Rule], kind: str, major: int, minor: int, access: int
) -> None:
    allowed = True
    for bit in (MKNOD, READ, WRITE):
        last = False
        for allow, of, at_major, at_minor, bits in rules:
            hit = of in ("a", kind) and at_major in (None, major) and at_minor in (None, minor)
            last = allow if hit and bits & bit else last
        allowed = allowed and (last or not access & bit)
    program = devices.program(rules)
    assert interpret(program, kind, major, minor, access) == allowed
    assert not unreachable(program)


def test_no_list_no_program() -> None:
    assert devices.load({}) is None
    assert devices.load({"devices": []}) is None


@pytest.mark.parametrize("count", [1, 500])
def test_size_is_a_few_instructions_a_rule(count: int) -> None:
    rules = [(True, "c", 1, number, 7) for number in range(count)]
    assert len(devices.program(rules)) // 8 <= 8 + 7 * count  # type: ignore[arg-type]
