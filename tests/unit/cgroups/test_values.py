from typing import Any

import pytest

from knarr.cgroups import values


@pytest.mark.parametrize("value", ["5", 1.5, True, [], {}])
def test_integer_refuses_other_types(value: object) -> None:
    with pytest.raises(ValueError, match=r"pids\.limit"):
        values.integer({"limit": value}, "pids.", "limit")


@pytest.mark.parametrize("value", [-2, 2**63])
def test_integer_refuses_what_is_out_of_range(value: int) -> None:
    with pytest.raises(ValueError, match="not in the range"):
        values.integer({"limit": value}, "", "limit")


def test_absent_is_none() -> None:
    assert values.integer({"limit": None}, "", "limit") is None
    assert values.boolean({}, "", "x") is None
    assert values.text({"x": ""}, "", "x") is None
    assert values.section({}, "memory") == {}
    assert values.items({}, "", "devices") == []


@pytest.mark.parametrize("value", ["x\ny", "x\0", 3])
def test_text_is_one_line(value: object) -> None:
    with pytest.raises(ValueError):
        values.text({"cpus": value}, "cpu.", "cpus")


@pytest.mark.parametrize("value", [[1], "x", 3])
def test_sections_and_lists_have_their_type(value: Any) -> None:
    with pytest.raises(ValueError):
        values.section({"memory": value}, "memory")
    with pytest.raises(ValueError):
        values.items({"devices": value}, "", "devices")


def test_device_needs_both_numbers() -> None:
    assert values.device({"major": 8, "minor": 0}, "") == "8:0"
    with pytest.raises(ValueError, match="both numbers"):
        values.device({"major": 8}, "")


@pytest.mark.parametrize(
    ("path", "expected"), [("/a", "/a"), ("//a/./b/", "/a/b"), ("/knarr/ID", "/knarr/ID")]
)
def test_control_path(path: str, expected: str) -> None:
    assert values.control_path(path) == expected


@pytest.mark.parametrize("path", ["", "a", "/", "//", "/.", "/a/../b", "/..", "/a\nb", "/a\0b"])
def test_bad_control_path(path: str) -> None:
    with pytest.raises(ValueError, match="cgroup path"):
        values.control_path(path)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\n", "cpu.max", "cgroup.procs"])
def test_bad_child_name(name: str) -> None:
    with pytest.raises(ValueError, match="cgroup name"):
        values.child_name(name)
