"""Killed while a container is made or removed: what others may see of it, and its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from knarr import ContainerConfig, errors
from knarr.engine import crashpoint, host
from tests.crash.test_engine_steps import play, rest

if TYPE_CHECKING:
    from knarr import Engine, Settings

CREATE = """
engine.containers.create(ContainerConfig("busybox", ("true",), name="one"))
print("survived")
"""
REMOVE = """
engine.containers.get("one").remove()
print("survived")
"""


@pytest.mark.parametrize("step", ["create.row", "create.snapshot", "create.directory"])
@pytest.mark.parametrize("first", ["get", "create"])
def test_half_a_container_is_none(
    step: str, first: str, engine: Engine, settings: Settings
) -> None:
    assert play(CREATE, f"engine:{step}", settings).returncode == -9
    assert len(engine.table.all()) == 1
    if first == "get":
        with pytest.raises(errors.NotFound, match="No such container: one"):
            engine.containers.get("one")
        assert engine.table.all() == []
    made = engine.containers.create(ContainerConfig("busybox", ("true",), name="one"))
    assert [row.id for row in engine.table.all()] == [made.id]
    assert engine.driver.list_keys() == [made.id]


def test_half_removed_is_not_started(engine: Engine, settings: Settings) -> None:
    container = engine.containers.create(ContainerConfig("busybox", ("true",), name="one"))
    assert play(REMOVE, "engine:remove.directory", settings).returncode == -9
    assert container.status == "created"  # the handle is older
    with pytest.raises(errors.Conflict, match="marked for removal and cannot be started"):
        container.start()
    engine.containers.get("one").remove()
    with pytest.raises(errors.NotFound):
        container.start()


FORCE = """
engine.containers.get("one").remove(force=True)
print("survived")
"""


def test_what_is_to_be_removed_and_runs_yet_is_removed_by_whoever_asks(
    engine: Engine, settings: Settings
) -> None:
    config = ContainerConfig("busybox", ("sleep", "600"), name="one")
    container, _ = engine.containers.launch(config, attach=False)
    pid = container.state.pid
    assert play(FORCE, f"engine:{crashpoint.FORCED_STEP}", settings).returncode == -9
    assert engine.containers.get("one").status == "removing"
    with pytest.raises(errors.Conflict, match="marked for removal and cannot be started"):
        container.restart(0)
    assert host.is_alive(pid, container.state.start_time)
    container.remove()
    assert host.start_time(pid) is None
    assert rest(engine) == []
