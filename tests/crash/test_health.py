"""Whoever is killed in the middle of a health check: nothing of it stays, and the checks go on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from knarr import Container, ContainerConfig, ExecConfig, HealthCheck
from tests.support import processes
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from knarr import Engine, Settings

SECOND = 10**9


@pytest.fixture
def hanging(engine: Engine) -> Container:
    """A container whose check hangs at this moment."""
    check = HealthCheck(
        ("CMD-SHELL", "test -e /ok || { sleep 601 & sleep 602; }"),
        interval=SECOND // 20, timeout=600 * SECOND, retries=1,
    )  # fmt: skip
    config = ContainerConfig("busybox", ("sleep", "600"), health=check)
    container = engine.containers.launch(config, attach=False).container
    wait_until(lambda: len(checks(container)) >= 2)
    return container


def checks(container: Container) -> list[int]:
    """Return the pids of what a check left running, or still runs."""
    return [int(line[1]) for line in container.top().processes if "sleep 60" in line[-1]][1:]


def supervisor(container: Container) -> int:
    pid: int = json.loads(Path(container.paths.state).read_text())["supervisor_pid"]
    return pid


def child(container: Container) -> int:
    """Return the pid of the process that makes the check."""
    (found,) = (
        pid
        for pid in processes.children(supervisor(container))
        if processes.name(pid) == "knarr-probe"
    )
    return found


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _passes(container: Container) -> bool:
    if checks(container):  # it began before it could pass
        for pid in processes.children(supervisor(container)):
            if processes.name(pid) == "knarr-probe":
                kill(pid)
    return container.health.status == "healthy"


def let_it_pass(container: Container) -> None:
    """Have every later check succeed and the one that hangs end; return when nothing is left."""
    container.exec_run(ExecConfig(("touch", "/ok")))
    wait_until(lambda: _passes(container))
    wait_until(lambda: checks(container) == [])
    wait_until(lambda: not os.path.exists(f"{container.paths.run}/probe"))


@pytest.mark.vm
def test_the_supervisor(hanging: Container) -> None:
    before = supervisor(hanging)
    old = set(checks(hanging))
    kill(before)
    wait_until(lambda: supervisor(hanging) != before)
    wait_until(lambda: not old & set(checks(hanging)))
    wait_until(lambda: supervisor(hanging) != before)
    let_it_pass(hanging)


def test_the_process_that_checks(hanging: Container) -> None:
    old = set(checks(hanging))
    kill(child(hanging))
    wait_until(lambda: not old & set(checks(hanging)))
    wait_until(lambda: hanging.health.status == "unhealthy")
    result = hanging.health.log[0]
    assert (result.exit_code, result.output) == (
        -1, "the process that ran the check was killed",
    )  # fmt: skip
    let_it_pass(hanging)


def test_both(hanging: Container) -> None:
    before, other = supervisor(hanging), child(hanging)
    old = set(checks(hanging))
    kill(before)
    kill(other)
    wait_until(lambda: not old & set(checks(hanging)))
    wait_until(lambda: supervisor(hanging) != before)
    let_it_pass(hanging)


def test_the_launcher(hanging: Container, settings: Settings) -> None:
    kill(processes.launcher(settings))
    let_it_pass(hanging)


def test_everybody_and_recover(hanging: Container, engine: Engine, settings: Settings) -> None:
    old = set(checks(hanging))
    kill(processes.launcher(settings))
    kill(supervisor(hanging))
    wait_until(lambda: not old & set(checks(hanging)))
    assert engine.recover().problems == []
    let_it_pass(hanging)


def test_results_outlive_the_supervisor(engine: Engine) -> None:
    check = HealthCheck(("CMD-SHELL", "echo once"), interval=3600 * SECOND,
                        start_period=3600 * SECOND, start_interval=SECOND // 20)  # fmt: skip
    config = ContainerConfig("busybox", ("sleep", "600"), health=check)
    container = engine.containers.launch(config, attach=False).container
    container.wait_healthy(60)
    log, before = container.health.log, supervisor(container)
    kill(before)
    wait_until(lambda: supervisor(container) != before)
    assert (container.health.status, container.health.log) == ("healthy", log)
    # Its successor has asked when the next is due, and has no child any more.
    wait_until(lambda: processes.children(supervisor(container)) == [])
    assert container.health.log == log


def test_a_container_that_is_stopped_when_both_are_killed(hanging: Container) -> None:
    before, other = supervisor(hanging), child(hanging)
    kill(other)
    kill(before)
    hanging.stop(0)
    assert hanging.wait(60).exit_code in (137, 255)  # lost with its parent before Linux 6.15
    hanging.remove()
