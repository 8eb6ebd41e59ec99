"""The same containers by the machine code and, for machines without any, by the interpreter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from knarr.runtime.program.carrier import INTERPRETER_VARIABLE
from knarr.supervisor.client import LaunchFailed
from tests.support.launch import Box


@pytest.fixture(params=["machine-code", "interpreter"])
def either(box: Box, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Box:
    """A box whose launcher, started by the test, carries programs out in one of both ways."""
    monkeypatch.setenv(INTERPRETER_VARIABLE, "1" if request.param == "interpreter" else "")
    return box


@pytest.fixture(params=[True, False], ids=["userns", "host-ids"])
def userns(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_it_is_carried_out_as_asked(either: Box) -> None:
    one = either.start("sleep", "1000")
    maps = Path(f"/proc/{one.supervisor}/maps").read_text()
    assert ("knarr-program" in maps) == (not os.environ[INTERPRETER_VARIABLE])


def test_output_and_exit_code(either: Box, userns: bool) -> None:
    done = either.run("sh", "-c", "echo out; echo err >&2; exit 7", userns=userns)
    assert (done.code, done.out, done.err) == (7, b"out\n", b"err\n")


def test_what_it_finds_inside(either: Box, userns: bool) -> None:
    lines = either.sh("hostname; echo $$; ls /proc/self/fd | wc -l", userns=userns).split()
    assert lines == ["box", "1", "4"]
    done = either.run("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", userns=userns)
    assert done.text.split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]


@pytest.mark.parametrize(
    ("command", "kind", "text"),
    [
        ("nope", "not-found", 'exec: "nope": executable file not found in $PATH'),
        ("/nope", "not-found", 'exec: "/nope": stat /nope: no such file or directory'),
        ("/etc", "not-executable", 'exec: "/etc": is a directory'),
        ("/etc/passwd", "not-executable", 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_failures_have_the_same_texts(either: Box, command: str, kind: str, text: str) -> None:
    request = either.request(command)
    with pytest.raises(LaunchFailed) as caught:
        either.send(request)
    assert (caught.value.kind, caught.value.message) == (kind, text)
    one = either.start("sleep", "1000")
    with pytest.raises(LaunchFailed) as caught:
        one.run(command)
    assert (caught.value.kind, caught.value.message) == (kind, text)


def test_a_step_that_fails_is_named(either: Box, userns: bool) -> None:
    mount = {"destination": "/etc/passwd/x", "type": "tmpfs", "source": "tmpfs", "options": []}
    request = either.request("true", userns=userns, edit=lambda spec: spec["mounts"].append(mount))
    with pytest.raises(LaunchFailed) as caught:
        either.send(request)
    expected = "mount tmpfs on /etc/passwd/x: openat2: Not a directory: /etc/passwd/x"
    assert caught.value.message == expected


def test_a_terminal(either: Box, userns: bool) -> None:
    done = either.run("sh", "-c", "tty; exit 3", tty=True, userns=userns)
    assert (done.code, done.text.strip()[:8]) == (3, "/dev/pts")


def test_a_user_is_looked_up(either: Box, userns: bool) -> None:
    def edit(spec: dict[str, dict[str, object]]) -> None:
        spec["process"]["user"] = {"uid": 0, "gid": 0, "x-knarr-name": "alice:staff"}

    lines = either.sh("id -un; id -gn; echo $HOME", userns=userns, edit=edit).split()
    assert lines == ["alice", "staff", "/home/alice"]


def test_further_commands(either: Box, userns: bool) -> None:
    one = either.start("sleep", "1000", userns=userns)
    assert one.run("sh", "-c", "cat; echo err >&2; exit 9", stdin=b"in\n") == (9, b"in\nerr\n")
    session = one.exec("sh", "-c", "tty; exit 5")
    assert os.read(session.master, 100).startswith(b"/dev/pts/")
    assert session.wait()["exit_code"] == 5
    session.close()
    assert one.kill().code == 137


def test_a_working_directory_that_is_a_file(either: Box) -> None:
    def edit(spec: dict[str, dict[str, object]]) -> None:
        spec["process"]["cwd"] = "/etc/passwd"

    with pytest.raises(LaunchFailed, match='working directory "/etc/passwd": Not a directory'):
        either.send(either.request("true", edit=edit))
