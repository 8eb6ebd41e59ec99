"""Killed between a pause and its note, or while a copy is made: what puts it right."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from knarr import errors
from knarr.engine import crashpoint
from knarr.engine.model import ExecConfig
from knarr.engine.paths import Paths
from knarr.engine.pause import running_group
from knarr.engine.state import merged, read_state_file
from tests.crash.test_engine_steps import play
from tests.support.processes import launcher
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr import Container, Engine, Settings

PAUSE = """
container = engine.containers.launch(
    ContainerConfig("busybox", ("sleep", "600"), name="one"), attach=False
).container
container.pause()
container.unpause()
print("survived")
"""


@pytest.mark.parametrize("end", ["unpause", "stop"])
@pytest.mark.parametrize("step", crashpoint.PAUSE_STEPS)
def test_the_caller_is_killed(step: str, end: str, engine: Engine, settings: Settings) -> None:
    died = play(PAUSE, f"engine:{step}", settings)
    assert died.returncode == -9, died
    assert engine.recover().problems == []
    container = engine.containers.get("one")
    assert container.status == "paused"
    if end == "unpause":
        container.unpause()
        assert container.status == "running"
        assert not running_group(container.paths).frozen()
    else:
        container.stop(0)
        assert container.wait(30).exit_code == 137


COPIES = {
    "commit": "container.commit('copy:1')",
    "clone": "container.clone('two')",
}
COPY = """
container = engine.containers.launch(
    ContainerConfig("busybox", ("sleep", "600"), name="one"), attach=False
).container
{copy}
print("survived")
"""


def _recover(engine: Engine, container: Container) -> None:
    del container
    assert any("a pause of container" in line for line in engine.recover().lines())


def _start(engine: Engine, container: Container) -> None:
    del engine
    with pytest.raises(errors.NotModified, match="already running"):
        container.start()


def _unpause(engine: Engine, container: Container) -> None:
    del engine
    with pytest.raises(errors.Conflict, match="is not paused"):
        container.unpause()


def _pause(engine: Engine, container: Container) -> None:
    del engine
    container.pause()
    container.unpause()


def _exec(engine: Engine, container: Container) -> None:
    del engine
    assert container.exec_run(ExecConfig(("echo", "on"))).stdout == b"on\n"


def _list(engine: Engine, container: Container) -> None:
    del container
    assert [one.status for one in engine.containers.list()] == ["running"]


def _stop(engine: Engine, container: Container) -> None:
    del engine
    container.stop(0)
    assert container.wait(30).exit_code == 137


@pytest.mark.parametrize("verb", [_recover, _start, _unpause, _pause, _exec, _list, _stop])
@pytest.mark.parametrize("copy", COPIES)
def test_who_copies_is_killed(
    copy: str, verb: Callable[[Engine, Container], None], engine: Engine, settings: Settings
) -> None:
    """The pause was theirs and ends with them, whoever comes first."""
    died = play(COPY.format(copy=COPIES[copy]), f"engine:{crashpoint.COPY_STEP}", settings)
    assert died.returncode == -9, died
    container = engine.containers.get("one")
    assert running_group(container.paths).frozen()
    verb(engine, container)
    if verb is not _stop:
        assert not running_group(container.paths).frozen()
        assert container.status == "running"
    assert engine.recover().problems == []


def test_who_copied_and_the_supervisor_are_dead(engine: Engine, settings: Settings) -> None:
    """One look puts both right, and what is shown after it is how it stays."""
    died = play(COPY.format(copy=COPIES["clone"]), f"engine:{crashpoint.COPY_STEP}", settings)
    assert died.returncode == -9, died
    record = engine.table.find("one")
    paths = Paths(settings, record.id)
    live = read_state_file(paths.state)
    assert live is not None
    for pid in (launcher(settings), live["supervisor_pid"]):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not paths.supervisor_lives())
    assert merged(record, paths).paused
    container = engine.containers.get("one")
    assert container.status == "running"
    assert not running_group(paths).frozen()
    container.remove(force=True)
