"""A prune that is killed at any step; ``recover``, or the next prune, finishes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from knarr import ContainerConfig
from tests.crash.test_engine_steps import play, recovered

if TYPE_CHECKING:
    from knarr import Engine, Settings

STEPS = ("remove.marked", "remove.snapshot", "remove.directory", "remove.rundir")
PRUNE = """
engine.containers.prune()
print("survived")
"""


@pytest.mark.parametrize("point", STEPS)
def test_a_killed_prune_leaves_no_half_of_a_container(
    engine: Engine, settings: Settings, point: str
) -> None:
    for name in ("one", "two"):
        engine.containers.create(ContainerConfig("busybox", ("true",), name=name))
    assert b"survived" not in play(PRUNE, point, settings).stdout
    recovered(engine)
    (left,) = engine.containers.list(all=True)
    assert engine.driver.list_keys() == [left.id]
    left.start()
    assert left.wait().exit_code == 0


@pytest.mark.parametrize("point", STEPS)
def test_the_next_prune_does_the_rest(engine: Engine, settings: Settings, point: str) -> None:
    for name in ("one", "two"):
        engine.containers.create(ContainerConfig("busybox", ("true",), name=name))
    play(PRUNE, point, settings)
    engine.containers.prune()
    assert [container.name for container in engine.containers.list(all=True)] == []
    assert recovered(engine) == []
