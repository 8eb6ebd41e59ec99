"""The tables of system call numbers against headers of this machine and well-known numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.bpf import X32_BIT, numbers

HEADERS = Path("/usr/include/x86_64-linux-gnu/asm")


@pytest.mark.parametrize(
    ("table", "name", "number"),
    [
        ("x86_64", "read", 0),
        ("x86_64", "execve", 59),
        ("x86_64", "uretprobe", 335),
        ("x86_64", "openat2", 437),
        ("x86", "socketcall", 102),
        ("x86", "socket", 359),
        ("x86", "clock_gettime64", 403),
        ("x32", "read", X32_BIT),
        ("x32", "execve", X32_BIT | 520),
        ("aarch64", "openat", 56),
        ("aarch64", "clone", 220),
        ("arm", "set_tls", 0xF0005),
        ("arm", "openat", 322),
    ],
)
def test_known_numbers(table: str, name: str, number: int) -> None:
    assert numbers(table)[name] == number


@pytest.mark.parametrize("table", ["x86_64", "x86", "x32", "aarch64", "arm"])
def test_new_calls_have_one_number_everywhere(table: str) -> None:
    bit = X32_BIT if table == "x32" else 0
    known = {"cachestat": 451, "fchmodat2": 452, "mseal": 462, "file_setattr": 469, "listns": 470}
    assert {name: numbers(table)[name] ^ bit for name in known} == known


@pytest.mark.parametrize("table", ["x86_64", "x86", "x32", "aarch64", "arm"])
def test_tables_are_complete_and_sane(table: str) -> None:
    found = numbers(table)
    assert len(found) > 320
    assert all(re.fullmatch(r"[a-z_][a-z0-9_]*", name) for name in found)
    by_number: dict[int, set[str]] = {}
    for name, number in found.items():
        by_number.setdefault(number, set()).add(name)
    twice = {frozenset(names) for names in by_number.values() if len(names) > 1}
    # arm64 and arm give two names to one number
    assert twice <= {frozenset({"sync_file_range2", "arm_sync_file_range"})}


@pytest.mark.parametrize(
    ("table", "header"),
    [("x86_64", "unistd_64.h"), ("x86", "unistd_32.h"), ("x32", "unistd_x32.h")],
)
def test_against_the_headers_of_this_machine(table: str, header: str) -> None:
    path = HEADERS / header
    if not path.exists():
        pytest.skip("kernel headers are not installed")
    pattern = re.compile(r"^#define __NR_(\w+) \(?(?:__X32_SYSCALL_BIT \+ )?(\d+)\)?$", re.M)
    bit = X32_BIT if table == "x32" else 0
    expected = {name: int(number) | bit for name, number in pattern.findall(path.read_text())}
    assert len(expected) > 300
    assert expected.items() <= numbers(table).items()
