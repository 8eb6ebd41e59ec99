"""Logs: whole, by line, from the end, followed, and complete."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from knarr import Container, ContainerConfig
from knarr.supervisor import state as states
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from knarr import Engine
    from knarr.engine.attach import Attachment


def finished(engine: Engine, script: str) -> Container:
    container = engine.containers.create(ContainerConfig("busybox", ("sh", "-c", script)))
    container.start()
    container.wait(60)
    return container


def text(entries: object) -> bytes:
    return b"".join(entry.data for entry in entries)  # type: ignore[attr-defined]


def test_both_streams_and_times(engine: Engine) -> None:
    before = time.time_ns()
    container = finished(engine, "echo out; echo err >&2; printf tail")
    entries = list(container.logs(lines=True))
    assert {(entry.stream, entry.data) for entry in entries} == {
        (1, b"out\n"), (2, b"err\n"), (1, b"tail"),
    }  # fmt: skip
    assert all(before < entry.time < time.time_ns() for entry in entries)
    assert entries[0].stamped()[10:11] == b"T"


def test_a_container_that_never_ran(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox"))
    assert list(container.logs()) == []
    assert list(container.logs(follow=True, tail=5)) == []


@pytest.mark.parametrize("count", [0, 1, 3, 10, 500])
def test_tail(engine: Engine, count: int) -> None:
    container = finished(engine, "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done")
    lines = [b"line %d\n" % number for number in range(200)]
    wanted = lines[-count:] if count else []
    assert [entry.data for entry in container.logs(tail=count)] == wanted


def test_since_and_until(engine: Engine) -> None:
    container = finished(engine, "echo one; sleep 0.3; echo two; sleep 0.3; echo three")
    times = [entry.time for entry in container.logs(lines=True)]
    assert text(container.logs(since=times[1])) == b"two\nthree\n"
    assert text(container.logs(until=times[1])) == b"one\ntwo\n"
    assert text(container.logs(since=times[0] + 1, until=times[1])) == b"two\n"
    assert text(container.logs(since=times[1], tail=1)) == b"three\n"


def test_following_ends_with_the_container(engine: Engine) -> None:
    config = ContainerConfig("busybox", ("sh", "-c", "echo one; read x; echo $x"), open_stdin=True)
    container, attachment = engine.containers.launch(config)
    assert attachment is not None
    seen: list[bytes] = []
    first = threading.Event()

    def follow() -> None:
        for entry in container.logs(follow=True, lines=True):
            seen.append(entry.data)
            first.set()

    with attachment:
        thread = threading.Thread(target=follow)
        thread.start()
        assert first.wait(30)
        attachment.write(b"two\n")
        thread.join(30)
    assert not thread.is_alive()
    assert seen == [b"one\n", b"two\n"]


def test_a_slow_client_holds_up_nobody(engine: Engine) -> None:
    """One of three that are attached reads nothing until all is written."""
    size = 24 << 20
    script = f"read x; head -c {size} /dev/zero | tr '\\0' x; read x; exit 7"
    config = ContainerConfig("busybox", ("sh", "-c", script), open_stdin=True)
    container, first = engine.containers.launch(config)
    assert first is not None
    with first, container.attach() as second, container.attach() as slow:
        first.write(b"begin\n")
        for quick in (first, second):
            assert taken(quick, size) == size
        first.write(b"end\n")
        assert first.wait(PATIENCE) == second.wait(PATIENCE)
        assert sum(len(data) for _, data in slow.output(PATIENCE)) == size
        assert slow.status is not None
        assert slow.status.exit_code == 7


def taken(attachment: Attachment, size: int) -> int:
    """Read so much output; return how much it was."""
    found = 0
    for _, data in attachment.output(PATIENCE):
        found += len(data)
        if found >= size:
            break
    return found


def test_following_survives_the_supervisor(engine: Engine) -> None:
    """kill -9 of the supervisor: another takes over, the follower goes on."""
    script = "trap 'echo bye; exit 3' TERM; echo one; while :; do sleep 1 & wait $!; done"
    container, attachment = engine.containers.launch(
        ContainerConfig("busybox", ("sh", "-c", script))
    )
    assert attachment is not None
    attachment.close()
    seen: list[bytes] = []
    first = threading.Event()

    def follow() -> None:
        for entry in container.logs(follow=True, lines=True):
            seen.append(entry.data)
            first.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert first.wait(30)
    live = states.read(container.paths.run)
    assert live is not None
    os.kill(live["supervisor_pid"], 9)
    container.kill("TERM")
    container.wait(30)
    thread.join(30)
    assert not thread.is_alive()
    assert seen == [b"one\n", b"bye\n"]


def test_nothing_is_lost_of_a_fast_writer_nobody_watches(engine: Engine) -> None:
    size = 64 << 20
    container = finished(engine, f"head -c {size} /dev/zero | tr '\\0' x; echo; echo end")
    digest, total = hashlib.sha256(), 0
    last = b""
    for entry in container.logs():
        digest.update(entry.data)
        total += len(entry.data)
        last = entry.data
    assert total == size + 5
    assert last.endswith(b"end\n")
    assert digest.hexdigest() == hashlib.sha256(b"x" * size + b"\nend\n").hexdigest()


def test_following_ends_by_a_descriptor(engine: Engine) -> None:
    config = ContainerConfig("busybox", ("sh", "-c", "echo a; sleep 1000"))
    container = engine.containers.launch(config, attach=False)[0]
    hear, say = os.pipe()
    try:
        entries = container.logs(follow=True, lines=True, stop=hear)
        assert next(entries).data == b"a\n"
        os.write(say, b".")
        assert list(entries) == []
    finally:
        os.close(hear)
        os.close(say)
