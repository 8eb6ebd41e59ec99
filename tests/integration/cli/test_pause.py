"""pause and unpause on the command line."""

from __future__ import annotations

from tests.support.installations import Installation


def test_pause_and_unpause(box: Installation) -> None:
    ids = {
        name: box.run("run", "-d", "--name", name, "busybox", "sleep", "600")[1].decode().strip()
        for name in ("one", "two")
    }
    assert box.run("pause", "one", "two") == (0, b"one\ntwo\n", b"")
    shown = box.run("ps", "--format", "{{.Names}} {{.State}} {{.Status}}")[1].decode()
    for name in ids:
        assert f"{name} paused Up " in shown
    assert shown.count(" (Paused)\n") == 2
    assert box.run("pause", "one") == (
        1, b"", f"Error: Container {ids['one']} is already paused\n".encode(),
    )  # fmt: skip
    assert box.run("container", "unpause", "two", "one") == (0, b"two\none\n", b"")
    code, out, err = box.run("unpause", "none", "one")
    assert (code, out) == (1, b"")
    assert err.decode().splitlines() == [
        "Error: No such container: none",
        f"Error: Container {ids['one']} is not paused",
    ]
    assert box.run("rm", "-f", "one", "two")[0] == 0
