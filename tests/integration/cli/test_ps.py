"""ps: which containers are shown, by flags and by filters."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.installations import Installation
from tests.support.waiting import wait_until


@pytest.fixture
def names(box: Installation) -> list[bytes]:
    """Containers, the newest first: one that runs among those that do not."""
    for name in ("one", "two"):
        assert box.run("create", "--name", name, "busybox", "true")[0] == 0
    assert box.run("run", "-d", "--name", "three", "busybox", "sleep", "600")[0] == 0
    assert box.run("create", "--name", "four", "busybox", "true")[0] == 0
    return [b"four", b"three", b"two", b"one"]


def shown(box: Installation, *words: str) -> list[bytes]:
    """Return the names that ``ps`` shows."""
    code, out, err = box.run("ps", "--format", "{{.Names}}", *words)
    assert (code, err) == (0, b"")
    return out.split()


def test_which_are_shown(box: Installation, names: list[bytes]) -> None:
    for words, wanted in (
        ([], [b"three"]),
        (["-n", "0"], [b"three"]),
        (["-n", "-1"], [b"three"]),
        (["-a"], names),
        (["-n", "2"], names[:2]),
        (["-l"], names[:1]),
        (["-l", "-n", "3"], names[:3]),
        (["-an", "2", "-f", "status=created"], [b"four", b"two"]),
        (["-f", "status=created"], [b"four", b"two", b"one"]),
        (["-a", "-f", "before=two"], [b"one"]),
        (["-a", "-f", "since=two"], [b"four", b"three"]),
        (["-f", "status=running", "-f", "status=paused"], [b"three"]),
    ):
        assert shown(box, *words) == wanted, words
    lines = box.run("container", "ls", "-s")[1].splitlines()
    assert lines[0].split()[-2:] == [b"NAMES", b"SIZE"]
    assert b"0B (virtual " in lines[1]
    assert len(box.run("ps", "-q", "--no-trunc")[1]) == 65


def test_filters_by_what_it_has(box: Installation, tmp_path: Path) -> None:
    words = ["-c", "EXPOSE 80 53/udp", "base", "web"]
    assert box.run("create", "--name", "base", "busybox")[0] == 0
    assert box.run("commit", *words)[0] == 0
    assert box.run("create", "--name", "one", "-v", f"{tmp_path}:/data", "web")[0] == 0
    for filter_, found in (
        ("expose=80", True), ("expose=53/udp", True), ("expose=70-90/tcp", True),
        ("expose=53", False), ("publish=80", False),
        (f"volume={tmp_path}", True), ("volume=/data/", True), ("volume=/other", False),
        ("health=none", True), ("health=healthy", False), ("is-task=false", True),
        ("is-task=1", False),
    ):  # fmt: skip
        assert (b"one" in shown(box, "-a", "-f", filter_)) is found, filter_
    healths = "invalid value for health (good): must be one of none, starting, healthy, unhealthy"
    texts = {"x=y": "x'", "health=good": f"health=good': {healths}"}
    for wrong in ("health=good", "expose=x", "publish=0", "expose=9-3", "is-task=maybe", "x=y"):
        code, out, err = box.run("ps", "-f", wrong)
        text = texts.get(wrong, f"{wrong}'")
        assert (code, out, err) == (1, b"", f"Error: invalid filter '{text}\n".encode())


def test_one_that_is_being_restarted_is_shown(box: Installation) -> None:
    assert box.run("run", "-d", "--restart", "always", "--name", "one", "busybox", "false")[0] == 0
    wait_until(lambda: box.run("ps", "--format", "{{.State}}")[1] == b"restarting\n")
    assert shown(box) == [b"one"]
    assert box.run("rm", "-f", "one")[0] == 0
