from __future__ import annotations

import json
from typing import Any

import pytest

from knarr.engine.security import profile
from knarr.errors import InvalidArgument

KERNEL = (6, 1)


def load(value: Any, *caps: str, machine: str = "x86_64", kernel: tuple[int, int] = KERNEL) -> Any:
    return profile.load(json.dumps(value), caps, machine, kernel)


def rule(name: str, **more: Any) -> dict[str, Any]:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", **more}


def names(value: dict[str, Any]) -> list[str]:
    return [name for entry in value["syscalls"] for name in entry["names"]]


def test_plain_profile_comes_back_as_it_is() -> None:
    value = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [rule("read", args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}])],
    }
    assert load(value) == value


def test_capabilities_decide() -> None:
    value = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            rule("mount", includes={"caps": ["CAP_SYS_ADMIN", "CAP_KILL"]}),
            rule("clone", excludes={"caps": ["CAP_SYS_ADMIN"]}),
        ],
    }
    assert names(load(value)) == ["clone"]
    assert names(load(value, "CAP_SYS_ADMIN")) == []
    assert names(load(value, "CAP_SYS_ADMIN", "CAP_KILL")) == ["mount"]


def test_architectures_decide() -> None:
    value = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64"},
        ],
        "syscalls": [
            rule("arch_prctl", includes={"arches": ["amd64", "x32"]}),
            rule("clone", excludes={"arches": ["amd64"]}),
        ],
    }
    assert names(load(value)) == ["arch_prctl"]
    assert load(value)["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    arm = load(value, machine="aarch64")
    assert (names(arm), arm["architectures"]) == (["clone"], ["SCMP_ARCH_AARCH64"])


def test_kernel_decides() -> None:
    value = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            rule("ptrace", includes={"minKernel": "4.8"}),
            rule("clone", excludes={"minKernel": "6.1"}),
        ],
    }
    assert names(load(value, kernel=(4, 7))) == ["clone"]
    assert names(load(value, kernel=(4, 19))) == ["ptrace", "clone"]
    assert names(load(value, kernel=(6, 1))) == ["ptrace"]


def test_old_form_with_one_name() -> None:
    value = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"name": "read", "action": "SCMP_ACT_ALLOW", "comment": "x", "args": None}],
    }
    assert load(value)["syscalls"] == [rule("read")]


@pytest.mark.parametrize("text", ["{}", '{"syscalls": []}'])
def test_empty_profile_is_none(text: str) -> None:
    assert profile.load(text, (), "x86_64", KERNEL) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Decoding seccomp profile failed"),
        ("[]", "not an object"),
        ('{"defaultAction": "X", "syscalls": [1]}', "Decoding seccomp profile failed"),
        (
            '{"defaultAction": "X", "syscalls": [{"action": "X"}]}',
            "Decoding seccomp profile failed",
        ),
        ('{"defaultAction": "X", "archMap": [{}]}', "Decoding seccomp profile failed"),
        (
            '{"defaultAction": "X", "archMap": [{}], "architectures": ["SCMP_ARCH_X86"]}',
            "both 'architectures' and 'archMap'",
        ),
        (
            '{"defaultAction": "X", "syscalls": [{"name": "a", "names": ["b"], "action": "X"}]}',
            "both 'name' and 'names'",
        ),
        (
            json.dumps(
                {
                    "defaultAction": "X",
                    "syscalls": [rule("a", includes={"minKernel": "new"})],
                }
            ),
            "invalid kernel version",
        ),
    ],
)
def test_what_is_no_profile(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        profile.load(text, (), "x86_64", KERNEL)
