"""How given limits and those that a container has become one."""

from __future__ import annotations

import pytest

from knarr import Limits, errors
from knarr.engine.model import ThrottleDevice
from knarr.engine.update import merged

MIB = 1 << 20


def test_what_is_not_given_stays() -> None:
    now = Limits(memory=64 * MIB, memory_swap=128 * MIB, cpu_shares=512, pids=20)
    assert merged(now, Limits()) == now
    assert merged(now, Limits(pids=-1, cpuset_cpus="0")) == Limits(
        memory=64 * MIB, memory_swap=128 * MIB, cpu_shares=512, pids=-1, cpuset_cpus="0"
    )


def test_rates_by_device() -> None:
    one, two = ThrottleDevice("/dev/a", 1), ThrottleDevice("/dev/b", 2)
    now = Limits(device_read_bps=(one, two))
    found = merged(now, Limits(device_read_bps=(ThrottleDevice("/dev/a", 9),)))
    assert found.device_read_bps == (two, ThrottleDevice("/dev/a", 9))


def test_memory_stays_below_the_swap_that_was_set_or_implied() -> None:
    for now in (Limits(memory=64 * MIB), Limits(memory=64 * MIB, memory_swap=128 * MIB)):
        found = merged(now, Limits(memory=128 * MIB))
        assert (found.memory, found.memory_swap) == (128 * MIB, 128 * MIB)
        with pytest.raises(errors.Conflict, match="smaller than already set memoryswap limit"):
            merged(now, Limits(memory=129 * MIB))
        both = merged(now, Limits(memory=256 * MIB, memory_swap=256 * MIB))
        assert both.memory_swap == 256 * MIB
    assert merged(Limits(), Limits(memory=MIB)) == Limits(memory=MIB)
    free = merged(Limits(memory=MIB, memory_swap=-1), Limits(memory=9 * MIB))
    assert free == Limits(memory=9 * MIB, memory_swap=-1)


@pytest.mark.parametrize(
    ("now", "given", "text"),
    [
        (Limits(nano_cpus=1), Limits(cpu_period=1000),
         "CPU Period cannot be updated as NanoCPUs has already been set"),
        (Limits(nano_cpus=1), Limits(cpu_quota=1000),
         "CPU Quota cannot be updated as NanoCPUs has already been set"),
        (Limits(cpu_quota=1000), Limits(nano_cpus=1),
         "NanoCPUs cannot be updated as CPU Quota has already been set"),
        (Limits(cpu_period=1000), Limits(nano_cpus=1),
         "NanoCPUs cannot be updated as CPU Period has already been set"),
    ],
)  # fmt: skip
def test_two_ways_to_say_it(now: Limits, given: Limits, text: str) -> None:
    with pytest.raises(errors.Conflict) as caught:
        merged(now, given, "ID")
    assert str(caught.value) == f"Cannot update container ID: Conflicting options: {text}"
