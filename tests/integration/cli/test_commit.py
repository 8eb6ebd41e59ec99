"""commit on the command line."""

from __future__ import annotations

import re

from tests.support.installations import Installation


def test_commit(box: Installation) -> None:
    assert box.run("run", "--name", "one", "busybox", "sh", "-c", "echo x > /new")[0] == 0
    code, out, err = box.run("commit", "-a", "Me", "-m", "why", "-c", 'CMD ["cat", "/new"]', "one",
                             "made")  # fmt: skip
    assert (code, err) == (0, b"")
    assert re.fullmatch(rb"sha256:[0-9a-f]{64}\n", out)
    assert box.run("run", "--rm", "made") == (0, b"x\n", b"")
    shown = box.run("image", "inspect", "-f", "{{.Author}} {{.Comment}}", "made:latest")
    assert shown == (0, b"Me why\n", b"")
    assert re.fullmatch(rb"sha256:.*\n", box.run("container", "commit", "-p=false", "one")[1])
    assert box.run("commit", "none", "x") == (1, b"", b"Error: No such container: none\n")
    assert box.run("commit", "one", "x", "y")[0] == 1
