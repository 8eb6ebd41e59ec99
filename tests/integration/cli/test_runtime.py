"""``--runtime`` as the command has it: exit codes, texts, what is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support import runtimes
from tests.support.installations import Installation


@pytest.fixture
def runc(tmp_path: Path) -> str:
    return runtimes.find("runc", tmp_path)


def test_exit_codes_and_texts(box: Installation, runc: str) -> None:
    run = ("run", "--rm", "--runtime", runc)
    assert box.run(*run, "busybox", "sh", "-c", "echo out; exit 9") == (9, b"out\n", b"")
    assert box.run(*run, "-i", "busybox", "cat", input=b"in") == (0, b"in", b"")
    for code, command, said in (
        (127, "nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        (126, "/etc", 'exec: "/etc": '),
    ):
        found, out, err = box.run(*run, "busybox", command)
        assert (found, out) == (code, b"")
        assert re.fullmatch(
            rf"knarr: .*OCI runtime create failed: runc .*{re.escape(said)}.*\n", err.decode()
        )
    for name, said in (
        ("nosuch", "unknown or invalid runtime name: nosuch: no such program in "),
        ("../nosuch", "unknown or invalid runtime name: /"),
    ):
        found, out, err = box.run("run", "--rm", "--runtime", name, "busybox", "true")
        assert (found, out) == (125, b"")
        assert err.startswith(f"knarr: {said}".encode()), err
    assert box.run("ps", "-aq")[1] == b""


def test_a_command_that_fails_is_told_once(box: Installation, runc: str) -> None:
    """The runtime's own lines, which it writes where the command would, are not seen."""
    box.run("run", "-d", "--name", "web", "--runtime", runc, "busybox", "sleep", "600")
    code, out, err = box.run("exec", "web", "nosuch")
    assert (code, out, err.count(b"\n")) == (127, b"", 1)
    assert b"OCI runtime exec failed" in err
    assert box.run("exec", "-i", "web", "cat", input=b"in" * 60000) == (0, b"in" * 60000, b"")


def test_what_is_shown(box: Installation, runc: str) -> None:
    box.run("create", "--name", "web", "--runtime", runc, "busybox", "true")
    assert box.run("inspect", "web", "-f", "{{.HostConfig.Runtime}}")[1] == f"{runc}\n".encode()
    facts = box.run("info")[1].decode()
    assert re.search(r"^ ?Runtimes: .*\bknarr\b.*\brunc\b", facts, re.MULTILINE)
    assert re.search(
        r"^ ?Default Runtime: runc$",
        box.run("info", KNARR_RUNTIME="runc")[1].decode(),
        re.MULTILINE,
    )
    found = json.loads(box.run("info", "-f", "{{json .Runtimes}}")[1])
    assert found["runc"]["path"].endswith("/runc")


def test_the_callers_path_is_not_asked(box: Installation, tmp_path: Path) -> None:
    """A policy that names a runtime means the one that is installed."""
    runtimes.script(tmp_path / "nosuch", "exit 1")
    code, _, err = box.run("create", "--runtime", "nosuch", "busybox", PATH=str(tmp_path))
    assert code == 1
    assert b"no such program" in err


def test_a_policy_names_runtimes(box: Installation, runc: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    words = ("create", "--runtime", runc, "busybox", "true")
    for text, allowed in (
        ("", False), ('[containers]\nruntimes = ["crun"]', False),
        ('[containers]\nruntimes = ["runc"]', True),
    ):  # fmt: skip
        policy.write_text(text, encoding="utf-8")
        code, _, err = box.run(*words, KNARR_POLICY=str(policy))
        assert (code == 0) is allowed, err
        assert allowed or b"containers.runtimes: OCI runtime runc would make it" in err
    policy.write_text("", encoding="utf-8")
    assert box.run("create", "busybox", "true", KNARR_POLICY=str(policy))[0] == 0
    assert (
        box.run("create", "busybox", "true", KNARR_POLICY=str(policy), KNARR_RUNTIME="runc")[0]
        == 125
    )
    policy.write_text('[containers]\nruntimes = ["./runc"]', encoding="utf-8")
    _, _, err = box.run("create", "busybox", KNARR_POLICY=str(policy))
    assert b"'./runc' is neither a name nor an absolute path" in err
