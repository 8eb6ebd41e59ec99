"""Killed at every step of engine and supervisor; afterwards ``recover`` leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import knarr
from knarr.engine import crashpoint
from knarr.engine.waiting import await_supervisor
from tests.support import leftovers

if TYPE_CHECKING:
    from knarr import Engine, Settings

SUPERVISOR = ("undo:cgroup", "undo:file", "created", "started", "running", "exited", "recorded")

COMMON = """
import sys
from knarr import ContainerConfig, Engine, Settings, errors
engine = Engine(Settings(data_root=sys.argv[1], run_root=sys.argv[2], cgroup_parent=sys.argv[3],
                         default_network="none"))
"""
LIFE = """
container = engine.containers.create(ContainerConfig("busybox", ("sleep", "100"), name="whole"))
container.start()
container.remove(force=True)
print("survived")
"""
RUN = """
try:
    config = ContainerConfig("busybox", ("sh", "-c", "echo hi > /file"), auto_remove=True)
    engine.containers.run(config)
except errors.KnarrError as error:
    print("error:", error)
print("survived")
"""


def play(script: str, point: str, settings: Settings) -> subprocess.CompletedProcess[bytes]:
    """Run a program that is to die, or whose supervisors are, at ``point``."""
    source = str(Path(knarr.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", COMMON + script, settings.data_root, settings.run_root,
         settings.cgroup_parent],
        env={**os.environ, "PYTHONPATH": source, crashpoint.VARIABLE: point},
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip


def rest(engine: Engine) -> list[str]:
    """Return everything that is left of containers, anywhere."""
    settings = engine.settings
    found = [f"row {row.name} {row.state}" for row in engine.table.all()]
    found += [f"snapshot {key}" for key in engine.driver.list_keys()]
    for folder in (
        f"{settings.data_root}/containers", f"{settings.data_root}/trash",
        f"{settings.data_root}/snapshots/trash", f"{settings.run_root}/containers",
        f"{settings.run_root}/locks",
    ):  # fmt: skip
        if os.path.isdir(folder):
            found += [f"{folder}/{name}" for name in os.listdir(folder)]
    found += [f"mount {path}" for path in leftovers.mounts(settings.data_root)]
    for folder in leftovers.cgroups(settings.cgroup_parent):
        found += [str(entry) for entry in Path(folder).iterdir() if entry.is_dir()]
    return found


def settle(engine: Engine) -> None:
    """Let those finish who are at it: supervisors of ended containers, and reapers."""
    for row in engine.table.all():
        container = knarr.Container(engine, row)
        if not container.state.running:
            await_supervisor(container.paths)
    run_root = engine.settings.run_root
    leftovers.settle(lambda: [p for p in leftovers.processes(run_root) if "engine.reap" in p])


def recovered(engine: Engine) -> list[str]:
    """Recover with a launcher that is not told to crash; return what is left after that."""
    engine.launcher.quit()
    settle(engine)
    report = engine.recover()
    settle(engine)
    assert report.problems == []
    # A reaper that was just becoming one held its container's lock, so that recover left it
    # alone; when it has died or ended too, there is nothing more to do.
    assert leftovers.settle(lambda: engine.recover().lines()) == []
    return rest(engine)


@pytest.mark.parametrize("step", crashpoint.STEPS)
def test_the_caller_is_killed_in_a_whole_life(
    step: str, engine: Engine, settings: Settings
) -> None:
    died = play(LIFE, f"engine:{step}", settings)
    assert died.returncode == -9, died
    left = recovered(engine)
    for container in engine.containers.list(all=True):  # created or started before the end: kept
        assert step == "create.spec" or step.startswith("start.")
        container.remove(force=True)
        left = rest(engine)
    assert left == []


@pytest.mark.parametrize("step", crashpoint.STEPS)
def test_the_caller_is_killed_in_run(step: str, engine: Engine, settings: Settings) -> None:
    died = play(RUN, f"engine:{step}", settings)
    assert died.returncode == -9, died
    for record in engine.table.all():
        knarr.Container(engine, record).wait(30)  # what runs on ends by itself
    recovered(engine)
    for container in engine.containers.list(all=True):  # as `create --rm`: complete, not started
        assert step in ("create.spec", "start.rundir", "start.announced")
        container.remove(force=True)
    settle(engine)
    engine.recover()
    assert rest(engine) == []


@pytest.mark.parametrize("script", [LIFE, RUN], ids=["life", "run"])
@pytest.mark.parametrize("point", SUPERVISOR)
def test_the_supervisor_is_killed(
    point: str, script: str, engine: Engine, settings: Settings
) -> None:
    """The caller gets an error or the result, never hangs, and nothing stays."""
    done = play(script, point, settings)
    assert done.returncode in (0, 1), done
    recovered(engine)
    for container in engine.containers.list(all=True):
        container.remove(force=True)
    assert rest(engine) == []
