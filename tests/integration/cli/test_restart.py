"""restart on the command line."""

from __future__ import annotations

from tests.support.installations import Installation


def test_a_set_in_order(box: Installation) -> None:
    for name in ("one", "two", "three"):
        assert box.run("create", "--name", name, "busybox", "sleep", "600")[0] == 0
    assert box.run("restart", "-t", "0", "two", "one") == (0, b"two\none\n", b"")
    started = {
        name: box.run("inspect", "-f", "{{.State.StartedAt}}", name)[1] for name in ("one", "two")
    }
    assert started["two"] < started["one"]
    code, out, err = box.run("container", "restart", "--time", "0", "one", "none", "three")
    assert (code, out, err) == (1, b"one\nthree\n", b"Error: No such container: none\n")
    assert box.run("inspect", "-f", "{{.State.StartedAt}}", "one")[1] > started["one"]
    shown = box.run("ps", "--format", "{{.Names}}")[1].split()
    assert sorted(shown) == [b"one", b"three", b"two"]
    assert box.run("rm", "-f", "one", "two", "three")[0] == 0


def test_what_cannot_be_started(box: Installation) -> None:
    assert box.run("create", "--name", "one", "busybox", "nope")[0] == 0
    code, out, err = box.run("restart", "one")
    assert (code, out) == (1, b"")
    assert err.startswith(b"Error: ")
    assert b'exec: "nope": executable file not found in $PATH' in err
