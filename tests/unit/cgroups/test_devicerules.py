from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.cgroups import UnsupportedResource, devicerules
from knarr.cgroups.devicerules import ALL, MKNOD, READ, WRITE

Rule = tuple[bool, str, int | None, int | None, int]
DENY_ALL = {"allow": False, "access": "rwm"}


def parse(*entries: dict[str, Any]) -> list[Rule]:
    return devicerules.parse({"devices": list(entries)})


def verdict(rules: list[Rule], kind: str, major: int, minor: int, access: int) -> bool:
    """The meaning in the plainest form: for each kind of access the last match decides."""
    for bit in (MKNOD, READ, WRITE):
        if not access & bit:
            continue
        allowed = False
        for allow, rule_kind, rule_major, rule_minor, rule_access in rules:
            if (
                rule_kind in ("a", kind)
                and rule_major in (None, major)
                and rule_minor in (None, minor)
                and rule_access & bit
            ):
                allowed = allow
        if not allowed:
            return False
    return True


@st.composite
def rule_lists(draw: st.DrawFn) -> list[Rule]:
    number = st.one_of(st.none(), st.integers(0, 2))
    narrow = st.tuples(st.booleans(), st.sampled_from("bc"), number, number, st.integers(1, ALL))
    wide = st.tuples(st.booleans(), st.just("a"), st.none(), st.none(), st.just(ALL))
    return draw(st.lists(st.one_of(narrow, narrow, narrow, wide), max_size=8))


def test_a_rule_about_everything_forgets_the_earlier_ones() -> None:
    rules = parse({"allow": True, "type": "c", "major": 1, "minor": 3}, DENY_ALL)
    assert rules == [(False, "a", None, None, ALL)]


def test_type_a_with_numbers_or_less_access_is_both_types() -> None:
    assert parse({"allow": True, "access": "m"}) == [
        (True, "b", None, None, MKNOD),
        (True, "c", None, None, MKNOD),
    ]
    assert parse({"allow": True, "type": "a", "major": 1, "minor": -1}) == [
        (True, "b", 1, None, ALL),
        (True, "c", 1, None, ALL),
    ]


def test_unbuffered_is_a_character_device_and_a_fifo_none() -> None:
    assert parse({"allow": True, "type": "u", "major": 1, "minor": 3, "access": "rw"}) == [
        (True, "c", 1, 3, READ | WRITE)
    ]
    assert parse({"allow": True, "type": "p"}) == []


@pytest.mark.parametrize(
    "entry",
    [
        {"allow": True, "type": "x"},
        {"allow": True, "access": "rx"},
        {"allow": "yes"},
        {"allow": True, "type": "c", "major": -2},
        {"allow": True, "type": "c", "major": 4096},
        {"allow": True, "type": "c", "minor": 1 << 20},
    ],
)
def test_bad_entries_are_named(entry: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"devices\[1\]"):
        parse(DENY_ALL, entry)


def test_reduce_gives_default_and_exceptions() -> None:
    rules = parse(
        DENY_ALL,
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"},
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "w"},
        {"allow": True, "type": "c", "major": 5, "minor": 0},
        {"allow": False, "type": "c", "major": 5, "access": "w"},
    )
    default, exceptions = devicerules.reduce(rules)
    assert not default
    assert exceptions == {("c", 1, 3): READ | WRITE, ("c", 5, 0): READ | MKNOD}


def test_an_exception_to_an_exception_is_beyond_v1() -> None:
    rules = parse(
        DENY_ALL,
        {"allow": True, "type": "c", "major": 5},
        {"allow": False, "type": "c", "major": 5, "minor": 1, "access": "w"},
    )
    with pytest.raises(UnsupportedResource, match=r"c 5:1 from c 5:\*") as caught:
        devicerules.reduce(rules)
    assert caught.value.field == "devices"


@given(rule_lists(), st.sampled_from("bc"), st.integers(0, 3), st.integers(0, 3), st.integers(1, 7))
def test_reduced_rules_mean_the_same(
    rules: list[Rule], kind: str, major: int, minor: int, access: int
) -> None:
    try:
        default, exceptions = devicerules.reduce(rules)
    except UnsupportedResource:
        return
    hit = 0
    for (rule_kind, rule_major, rule_minor), bits in exceptions.items():
        if rule_kind == kind and rule_major in (None, major) and rule_minor in (None, minor):
            hit |= bits
    allowed = not hit & access if default else not access & ~hit
    assert allowed == verdict(rules, kind, major, minor, access)
