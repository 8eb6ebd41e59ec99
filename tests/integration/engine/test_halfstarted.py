"""Makers that died around the gate: the container runs, or was never started."""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from knarr import Container, ContainerConfig, Engine, errors
from knarr.engine import host
from knarr.kernel import process
from knarr.supervisor import rundir, undo
from tests.support import leftovers, processes
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from knarr import Settings


def end(pid: int) -> None:
    handle = process.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([handle], [], [], 30)
    os.close(handle)


@pytest.fixture
def container(engine: Engine) -> Container:
    """A container whose launcher and supervisor died before the record of its start got a name."""
    made = engine.containers.create(ContainerConfig("busybox", ("sleep", "100"), name="web"))
    made.start()
    engine.launcher.quit()
    end(json.loads(Path(made.paths.state).read_bytes())["supervisor_pid"])
    os.rename(made.paths.state, f"{made.paths.run}/.state.json.new")
    assert made.status == "created"
    return made


def groups(settings: Settings) -> list[Path]:
    """The control groups of containers that are still there."""
    found = [Path(group).iterdir() for group in leftovers.cgroups(settings.cgroup_parent)]
    return [entry for entries in found for entry in entries if entry.is_dir()]


def first_process(container: Container) -> int:
    return int(json.loads(Path(f"{container.paths.run}/.state.json.new").read_bytes())["pid"])


def test_one_that_lives_has_passed_its_gate(engine: Engine, container: Container) -> None:
    assert engine.recover().adopted == [container.id]
    assert container.status == "running"
    container.kill()
    assert container.wait(30).exit_code == 137


def test_one_that_lives_is_not_started_again(container: Container) -> None:
    with pytest.raises(errors.NotModified, match="already running"):
        container.start()
    assert container.status == "running"


def test_one_that_is_dead_was_never_started(
    engine: Engine, settings: Settings, container: Container
) -> None:
    end(first_process(container))
    report = engine.recover()
    assert (report.ended, report.problems) == ([], [])
    assert container.status == "created"
    assert not os.path.exists(container.paths.run)
    assert groups(settings) == []
    assert engine.containers.list() == []
    assert [each.id for each in engine.containers.list(all=True)] == [container.id]


def test_one_that_is_dead_can_be_started(container: Container) -> None:
    end(first_process(container))
    container.start()
    assert container.status == "running"


def test_a_torn_record_is_none(engine: Engine, settings: Settings, container: Container) -> None:
    end(first_process(container))
    Path(f"{container.paths.run}/.state.json.new").write_bytes(b'{"status":"ru')
    engine.recover()
    assert (container.status, groups(settings)) == ("created", [])
    container.start()
    assert container.status == "running"


@pytest.fixture
def adopted(engine: Engine, container: Container) -> Iterator[Container]:
    """That container while somebody takes it over, who has yet to see that it runs."""
    adopting = threading.Thread(target=engine.launcher.adopt, args=(container.paths.run,))
    adopting.start()
    wait_until(lambda: rundir.is_locked(container.paths.run))
    yield container
    adopting.join()


def test_one_that_is_being_taken_over_is_removed(engine: Engine, adopted: Container) -> None:
    pid = first_process(adopted)
    adopted.remove(force=True)
    assert host.start_time(pid) is None
    assert engine.containers.list(all=True) == []


def test_one_that_is_being_taken_over_is_not_started_again(adopted: Container) -> None:
    with pytest.raises(errors.NotModified, match="already running"):
        adopted.start()
    assert adopted.status == "running"


@pytest.mark.parametrize("point", ["running", "created"])
def test_one_whose_supervisor_took_it_along_was_never_started(
    point: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first process dies with the supervisor as long as it is not the container's command."""
    monkeypatch.setenv(undo.CRASH_VARIABLE, f"parent:{point}")
    container = engine.containers.create(ContainerConfig("busybox", ("sleep", "100")))
    with pytest.raises(
        errors.Unavailable, match="a process of knarr that was at work for it was killed"
    ):
        container.start()
    monkeypatch.delenv(undo.CRASH_VARIABLE)
    crashing = processes.launcher(engine.settings)
    engine.launcher.quit()
    wait_until(lambda: host.start_time(crashing) is None)  # it serves whoever comes before
    assert container.status == "created"
    journal = engine.events(since=0, until=time.time_ns(), filters={"container": [container.id]})
    assert [event["Action"] for event in journal] == ["create"]
    container.start()
    assert container.status == "running"
