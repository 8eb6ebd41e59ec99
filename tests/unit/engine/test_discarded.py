"""Which limits are left out on a machine that cannot keep them, and what is said."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from knarr.engine import discarded
from knarr.engine.machine import Machine
from knarr.engine.model import Limits, ThrottleDevice

NO_SWAP = (
    "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
    "Memory limited without swap."
)
NO_OOM = "Your kernel does not support OomKillDisable. OomKillDisable discarded."
UNGUARDED = (
    "OOM killer is disabled for the container, but no memory limit is set, this can result in "
    "the system running out of resources."
)


def machine(*lacking: str) -> Machine:
    def lacks(fields: Iterable[str]) -> list[str]:
        return [field for field in fields if field in lacking]

    found: Any = SimpleNamespace(cgroups=SimpleNamespace(lacking=lacks))
    return cast("Machine", found)


@pytest.mark.parametrize(
    ("lacking", "limits", "left", "said"),
    [
        ((), Limits(memory=1 << 30, pids=5), Limits(memory=1 << 30, pids=5), []),
        (
            ("memory.swap",),
            Limits(memory=1 << 30),
            Limits(memory=1 << 30, memory_swap=-1),
            [NO_SWAP],
        ),
        (("memory.swap",), Limits(memory=9, memory_swap=-1), Limits(memory=9, memory_swap=-1), []),
        (("memory.swap",), Limits(pids=1), Limits(pids=1), []),
        (
            ("memory.limit", "memory.swap", "memory.reservation"),
            Limits(memory=1 << 30, memory_reservation=1 << 29),
            Limits(memory_swap=-1),
            [
                (
                    "Your kernel does not support memory limit capabilities or the cgroup is not "
                    "mounted. Limitation discarded."
                ),
                (
                    "Your kernel does not support memory soft limit capabilities or the cgroup is "
                    "not mounted. Limitation discarded."
                ),
            ],
        ),
        (
            ("memory.swappiness", "memory.disableOOMKiller"),
            Limits(memory_swappiness=0, oom_kill_disable=True),
            Limits(),
            [
                (
                    "Your kernel does not support memory swappiness capabilities or the cgroup is "
                    "not mounted. Memory swappiness discarded."
                ),
                NO_OOM,
            ],
        ),
        ((), Limits(oom_kill_disable=True), Limits(oom_kill_disable=True), [UNGUARDED]),
        (("pids.limit",), Limits(pids=-1), Limits(pids=-1), []),
        (
            ("cpu.quota", "cpu.cpus"),
            Limits(cpu_period=5000, cpuset_mems="0"),
            Limits(),
            [
                "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.",
                (
                    "Your kernel does not support cpuset or the cgroup is not mounted. "
                    "Cpuset discarded."
                ),
            ],
        ),
        (
            ("blockIO.throttleReadBpsDevice", "blockIO.throttleWriteIOPSDevice"),
            Limits(
                device_read_bps=(ThrottleDevice("/dev/sda", 1),),
                device_write_iops=(ThrottleDevice("/dev/sda", 1),),
                cpu_shares=7,
            ),
            Limits(cpu_shares=7),
            [
                (
                    "Your kernel does not support BPS Block I/O read limit or the cgroup is not "
                    "mounted. Block I/O BPS read limit discarded."
                ),
                (
                    "Your kernel does not support IOPS Block write limit or the cgroup is not "
                    "mounted. Block I/O IOPS write limit discarded."
                ),
            ],
        ),
    ],
)
def test_limits_that_are_left_out(
    lacking: tuple[str, ...],
    limits: Limits,
    left: Limits,
    said: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert discarded.kept(machine(*lacking), limits) == left
    assert caplog.messages == said
