"""container clone on the command line."""

from __future__ import annotations

import re

from tests.support.installations import Installation


def test_container_clone(box: Installation) -> None:
    script = "echo x >> /file; cat /file"
    assert box.run("run", "--name", "one", "busybox", "sh", "-c", script)[1] == b"x\n"
    code, out, err = box.run("container", "clone", "one")
    assert (code, err) == (0, b"")
    assert re.fullmatch(rb"[0-9a-f]{64}\n", out)
    assert box.run("start", "-a", "one-clone")[1] == b"x\nx\n"
    assert box.run("container", "clone", "one")[0] == 0
    assert box.run("container", "clone", "--run", "one", "three")[0] == 0
    assert box.run("wait", "three")[1] == b"0\n"
    assert box.run("logs", "three")[1] == b"x\nx\n"
    assert box.run("container", "clone", "--destroy", "--name", "four", "one")[0] == 0
    names = box.run("ps", "-a", "--format", "{{.Names}}")[1].split()
    assert names == [b"four", b"three", b"one-clone1", b"one-clone"]


def test_refusals(box: Installation) -> None:
    assert box.run("run", "-d", "--name", "one", "busybox", "sleep", "600")[0] == 0
    assert box.run("container", "clone", "-f", "one")[0] == 1
    code, _, err = box.run("container", "clone", "--destroy", "one")
    assert (code, err.count(b"\n")) == (1, 1)
    assert box.run("container", "clone", "--destroy", "-f", "one", "two")[0] == 0
    assert box.run("ps", "-a", "--format", "{{.Names}}")[1] == b"two\n"
    assert box.run("container", "clone", "none")[0] == 1
