"""Killed while a container that has ended is started again: it is as it was, or it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.crash.test_engine_steps import play
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from knarr import Engine, Settings

AGAIN = """
engine.containers.get("one").start()
print("survived")
"""
COMMAND = ("sh", "-c", "test -e /again && exec sleep 600; touch /again; exit 4")


@pytest.mark.parametrize("recovers", [False, True])
@pytest.mark.parametrize("step", ["start.rundir", "start.announced", "start.launched"])
def test_the_caller_is_killed(
    step: str, recovers: bool, engine: Engine, settings: Settings
) -> None:
    from knarr import ContainerConfig

    container = engine.containers.create(ContainerConfig("busybox", COMMAND, name="one"))
    container.start()
    assert container.wait(30).exit_code == 4
    died = play(AGAIN, f"engine:{step}", settings)
    assert died.returncode == -9, died
    if recovers:
        assert engine.recover().problems == []
    container = engine.containers.get("one")
    state = container.state
    if step == "start.launched":
        assert state.running
    else:
        assert (state.status, state.exit_code) == ("exited", 4)
        container.start()
    container.kill()
    assert (container.status, container.state.exit_code) == ("exited", 137)


@pytest.mark.parametrize("step", ["start.rundir", "start.announced", "start.launched"])
def test_who_starts_it_by_policy_is_killed(step: str, engine: Engine, settings: Settings) -> None:
    from knarr import ContainerConfig
    from knarr.engine import waiting
    from knarr.engine.model import RestartPolicy

    config = ContainerConfig("busybox", ("false",), name="one", restart=RestartPolicy("always"))
    container = engine.containers.create(config)
    container.start()
    for _ in range(6):  # each time it waits twice as long to be started
        wait_until(lambda: container.state.restarting and container.state.restarts > 3)
        waiting.kill_supervisor(container.paths)
        died = play("engine.recover()", f"engine:{step}", settings)
        if died.returncode == -9:
            break
        assert died.returncode == 0, died  # its supervisor had just begun to start it
    restarts = container.state.restarts
    wait_until(lambda: container.state.restarts > restarts)
    container.stop(0)
    assert container.status == "exited"
