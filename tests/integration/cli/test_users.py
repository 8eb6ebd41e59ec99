"""Unknown users: what the command says and how it ends, as with Docker."""

from __future__ import annotations

from tests.support.installations import Installation

UNKNOWN = b"unable to find user me: no matching entries in passwd file\n"


def test_run_and_start(box: Installation) -> None:
    code, out, err = box.run("run", "--rm", "--user", "me", "busybox", "true")
    assert (code, out) == (125, b"")
    assert err.endswith(UNKNOWN)
    assert box.run("ps", "-aq")[1] == b""
    assert box.run("create", "--user", "me", "--name", "web", "busybox", "true")[0] == 0
    code, _, err = box.run("start", "web")
    assert (code, err.endswith(UNKNOWN)) == (1, True)
    assert box.run("ps", "-a", "--format", "{{.Status}}")[1] == b"Created\n"
    box.run("rm", "web")


def test_exec(box: Installation) -> None:
    assert box.run("run", "-d", "--name", "web", "busybox", "sleep", "100")[0] == 0
    code, out, err = box.run("exec", "--user", "me", "web", "true")
    assert (code, out) == (126, b"")
    assert err.endswith(UNKNOWN)
    box.run("rm", "-f", "web")
