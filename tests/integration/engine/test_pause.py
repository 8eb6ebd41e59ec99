"""pause and unpause: nothing moves meanwhile, and whatever ends a container ends a paused one."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from knarr import Container, ContainerConfig, Engine, ExecConfig, errors
from knarr.engine.pause import running_group
from tests.support.waiting import wait_until

COUNTING = (
    "sh",
    "-c",
    "trap 'exit 5' TERM; trap 'exit 6' HUP; while :; do echo x; done > /dev/null",
)


@pytest.fixture
def busy(engine: Engine) -> Container:
    """A container that uses a processor all the time."""
    container = engine.containers.launch(ContainerConfig("busybox", COUNTING), attach=False)[0]
    wait_until(lambda: _ticks(container) > 0)
    return container


def _ticks(container: Container) -> int:
    words = Path(f"/proc/{container.state.pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def test_it_stands_still_and_goes_on(engine: Engine, busy: Container) -> None:
    busy.pause()
    state = busy.state
    assert (state.status, state.running, state.paused) == ("paused", True, True)
    assert busy.describe().startswith("Up ")
    assert busy.describe().endswith(" (Paused)")
    shown = busy.inspect()["State"]
    assert (shown["Status"], shown["Running"], shown["Paused"]) == ("paused", True, True)
    assert running_group(busy.paths).frozen()
    assert [c.id for c in engine.containers.list()] == [busy.id]
    assert engine.containers.list(filters={"status": ["running"]}) == []
    assert len(engine.containers.list(filters={"status": ["paused"]})) == 1
    assert engine.info()["ContainersPaused"] == 1
    before = _ticks(busy)
    busy.unpause()
    assert busy.status == "running"
    wait_until(lambda: _ticks(busy) > before)


def test_what_is_refused_meanwhile(busy: Container) -> None:
    with pytest.raises(errors.Conflict, match=f"Container {busy.id} is not paused"):
        busy.unpause()
    busy.pause()
    for act, text in (
        (busy.pause, f"Container {busy.id} is already paused"),
        (busy.start, "cannot start a paused container, try unpause instead"),
        (busy.attach, "You cannot attach to a paused container, unpause it first"),
        (busy.remove, (f'cannot remove container "/{busy.name}": container is paused and must be '
                       "unpaused first")),
        (lambda: busy.exec(ExecConfig(("true",))),
         f"Container {busy.id} is paused, unpause the container before exec"),
    ):  # fmt: skip
        with pytest.raises(errors.Conflict) as caught:
            act()
        assert str(caught.value) == text


def test_files_are_there_while_it_is_paused(busy: Container) -> None:
    busy.pause()
    assert busy.stat_path("/bin/sh").name == "sh"
    busy.unpause()


@pytest.mark.parametrize(("verb", "code"), [("stop", 5), ("kill", 137), ("term", 5)])
def test_what_ends_it(busy: Container, verb: str, code: int) -> None:
    busy.pause()
    if verb == "stop":
        busy.stop(30)
    else:
        busy.kill("TERM" if verb == "term" else "KILL")
    assert busy.wait(30).exit_code == code
    assert busy.status == "exited"


def test_another_signal_waits(busy: Container) -> None:
    busy.pause()
    busy.kill("HUP")
    assert busy.status == "paused"
    busy.unpause()
    assert busy.wait(30).exit_code == 6


def test_force_removes_it(engine: Engine, busy: Container) -> None:
    busy.pause()
    busy.remove(force=True)
    assert engine.containers.list(all=True) == []


def test_one_that_does_not_run(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox"))
    with pytest.raises(errors.Conflict, match=f"Container {container.id} is not running"):
        container.pause()


def test_it_stays_paused_when_its_supervisor_is_killed(busy: Container) -> None:
    busy.pause()
    supervisor = _supervisor(busy)
    handle = os.pidfd_open(supervisor)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)
    wait_until(lambda: _supervisor(busy) != supervisor or not busy.paths.supervisor_lives())
    assert busy.status == "paused"
    busy.unpause()
    assert busy.status == "running"


def _supervisor(container: Container) -> int:
    return int(json.loads(Path(container.paths.state).read_text())["supervisor_pid"])
