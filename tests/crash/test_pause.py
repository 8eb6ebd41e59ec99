"""Killed between a pause and its note: ``unpause``, or its end, puts it right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from knarr.engine import crashpoint
from knarr.engine.pause import running_group
from tests.crash.test_engine_steps import play

if TYPE_CHECKING:
    from knarr import Engine, Settings

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
