"""update: what holds in the kernel, what is recorded, what a refusal leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr import Container, ContainerConfig, Engine, ExecConfig, Limits, errors
from knarr.engine.model import RestartPolicy
from knarr.engine.pause import running_group
from tests.support.waiting import wait_until

MIB = 1 << 20


def launch(engine: Engine, **options: object) -> Container:
    """Start a container that sleeps."""
    config = ContainerConfig("busybox", ("sleep", "600"), **options)  # type: ignore[arg-type]
    return engine.containers.launch(config, attach=False).container


def _limits(container: Container) -> tuple[int | None, int | None]:
    stats = running_group(container.paths).stats()
    return stats["memory"]["limit"], stats["pids"]["limit"]


def _cpu(container: Container) -> tuple[int, int]:
    """Return quota and period, on either version of control groups."""
    paths = running_group(container.paths).paths
    if "cpu" in paths:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota, period = (int(Path(paths["cpu"], name).read_text()) for name in names)
        return quota, period
    words = Path(paths["unified"], "cpu.max").read_text().split()
    return int(words[0]), int(words[1])


@pytest.mark.vm
def test_limits_hold_at_once_and_after_the_next_start(engine: Engine) -> None:
    container = launch(engine, limits=Limits(memory=64 * MIB, pids=50))
    container.update(Limits(memory=96 * MIB, pids=60, nano_cpus=500_000_000))
    assert _limits(container) == (96 * MIB, 60)
    assert _cpu(container) == (50_000, 100_000)
    host = container.inspect()["HostConfig"]
    assert (host["Memory"], host["PidsLimit"], host["NanoCpus"]) == (96 * MIB, 60, 500_000_000)
    container.restart(0)
    assert _limits(container) == (96 * MIB, 60)
    assert _cpu(container) == (50_000, 100_000)
    container.update(Limits(pids=-1, memory=256 * MIB, memory_swap=-1))
    assert _limits(container) == (256 * MIB, None)
    assert _cpu(container) == (50_000, 100_000)
    assert container.exec_run(ExecConfig(("true",))).exit_code == 0


def test_one_that_does_not_run(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", ("sleep", "600")))
    container.update(Limits(memory=64 * MIB))
    assert engine.containers.get(container.id).config.limits.memory == 64 * MIB
    container.start()
    assert _limits(container)[0] == 64 * MIB


def test_a_paused_one(engine: Engine) -> None:
    container = launch(engine)
    container.pause()
    container.update(Limits(pids=30))
    assert _limits(container)[1] == 30
    assert container.status == "paused"
    container.unpause()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (Limits(memory=MIB), "Minimum memory limit allowed is 6MB"),
        (Limits(nano_cpus=10**15), "Range of CPUs is from 0.01 to "),
        (Limits(cpuset_cpus="4000"), "Requested CPUs are not available - requested 4000"),
        (Limits(memory=512 * MIB), "Memory limit should be smaller than already set memoryswap"),
        (Limits(blkio_weight=5), "Range of blkio weight is from 10 to 1000"),
    ],
)
def test_a_refusal_changes_nothing(engine: Engine, given: Limits, text: str) -> None:
    container = launch(engine, limits=Limits(memory=64 * MIB, pids=50))
    with pytest.raises((errors.InvalidArgument, errors.Conflict), match=text):
        container.update(given)
    assert _limits(container) == (64 * MIB, 50)
    assert engine.containers.get(container.id).config == container.config
    assert container.config.limits == Limits(memory=64 * MIB, pids=50)


def test_restart_policies(engine: Engine) -> None:
    container = launch(engine)
    container.update(restart=RestartPolicy("on-failure", 3))
    assert container.inspect()["HostConfig"]["RestartPolicy"] == {
        "Name": "on-failure", "MaximumRetryCount": 3,
    }  # fmt: skip
    container.update(restart=RestartPolicy("always"))
    before = container.state.pid
    container.exec_run(ExecConfig(("kill", "-9", "1"), privileged=True))
    running_group(container.paths).kill()
    wait_until(lambda: container.state.running and container.state.pid != before)
    container.update(restart=RestartPolicy())
    running_group(container.paths).kill()
    assert container.wait(30).exit_code == 137
    assert container.status == "exited"
    brief = launch(engine, auto_remove=True)
    with pytest.raises(errors.Conflict, match="because AutoRemove is enabled for the container"):
        brief.update(restart=RestartPolicy("always"))


def test_a_policy_taken_away_ends_the_waiting(engine: Engine) -> None:
    container = engine.containers.create(
        ContainerConfig("busybox", ("false",), restart=RestartPolicy("always"))
    )
    container.start()
    wait_until(lambda: container.state.restarts >= 3 and container.state.restarting)
    container.update(restart=RestartPolicy())
    assert container.status == "exited"
