"""top, port and diff on the command line."""

from __future__ import annotations

from tests.support.installations import Installation


def test_top(box: Installation) -> None:
    assert box.run("run", "-d", "--name", "one", "busybox", "sleep", "611")[0] == 0
    code, out, err = box.run("top", "one")
    assert (code, err) == (0, b"")
    head, row = out.decode().splitlines()
    assert head.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert row.endswith(" sleep 611")
    assert head.index("PID") == 20
    pid = box.run("inspect", "-f", "{{.State.Pid}}", "one")[1].strip()
    assert row.split()[1].encode() == pid
    assert box.run("container", "top", "one", "-o", "pid,comm")[1] == (
        b"PID                 COMMAND\n%-20ssleep\n" % pid
    )
    assert box.run("top", "one", "-o", "comm") == (
        1, b"", b"Error: Couldn't find PID field in ps output\n",
    )  # fmt: skip


def test_port(box: Installation) -> None:
    assert box.run("create", "--name", "one", "busybox")[0] == 0
    assert box.run("port", "one") == (0, b"", b"")
    for wanted in ("80", "80/udp"):
        text = f"Error: No public port '{wanted}' published for one\n"
        assert box.run("port", "one", wanted) == (1, b"", text.encode())
    for wrong in ("x", "70000", "-1"):
        code, _, err = box.run("container", "port", "--", "one", wrong)
        assert (code, err.startswith(f"Error: invalid port ({wrong})".encode())) == (1, True)
    assert box.run("port", "none") == (1, b"", b"Error: No such container: none\n")


def test_diff(box: Installation) -> None:
    script = "mkdir /a; echo x > /a/b; rm /bin/ls"
    assert box.run("run", "--name", "one", "busybox", "sh", "-c", script)[0] == 0
    assert box.run("diff", "one") == (0, b"A /a\nA /a/b\nC /bin\nD /bin/ls\n", b"")
    assert box.run("container", "diff", "none")[0] == 1
