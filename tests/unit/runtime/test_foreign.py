"""What a runtime says becomes one line, and the kind of failure that Docker sees in it."""

from __future__ import annotations

import json

import pytest

from knarr.runtime import foreign


@pytest.mark.parametrize(
    ("said", "program", "kind"),
    [
        ('exec: "nope": executable file not found in $PATH', "nope", "not-found"),
        ("executable file `nope` not found in $PATH: No such file or directory", "x", "not-found"),
        ('exec: "/nope": stat /nope: no such file or directory', "/nope", "not-found"),
        ("mounting /nope: no such file or directory", "sh", "error"),
        ("exec failed: mounting /dev/shm: no such file or directory", "sh", "error"),
        ("error starting setns process: fork/exec /proc/self/exe: no such file", "true", "error"),
        ('exec: "/etc": permission denied', "/etc", "not-executable"),
        ('exec: "/etc": is a directory', "/etc", "not-executable"),
        ("open executable: Permission denied", "/etc/hosts", "not-executable"),
        ("open executable: Operation not permitted", "/etc", "not-executable"),
        ("mkdir /sys/fs/cgroup/x: permission denied", "sh", "error"),
        ("permission denied", "", "error"),
    ],
)
def test_kinds(said: str, program: str, kind: str) -> None:
    assert foreign._kind(said, program) == kind


def test_the_last_error_of_a_log_counts() -> None:
    lines = [
        {"level": "error", "msg": "first"},
        {"level": "error", "msg": "second\n\x1b[31mred\x1b[0m   line"},
        {"level": "warning", "msg": "no error"},
    ]
    log = b"no json\n[]\n{}\n" + "\n".join(json.dumps(line) for line in lines).encode() + b"\n{cut"
    assert foreign._words(log) == "second ?[31mred?[0m line"
    assert foreign._words(b"") == ""
    assert len(foreign._words(json.dumps({"level": "fatal", "msg": "x" * 9999}).encode())) == 2000


def test_without_a_log_the_last_line_counts() -> None:
    assert foreign._last_line(b"one\ntwo \xff\n \n\n") == "two �"
    assert foreign._last_line(b"\n") == ""
