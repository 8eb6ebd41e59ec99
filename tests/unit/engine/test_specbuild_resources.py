"""Limits become ``linux.resources``, or an error with Docker's text."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.engine.model import ContainerConfig, Limits, ThrottleDevice
from knarr.engine.spec_resources import parse_cpu_list, resources
from knarr.engine.speccontext import BuildContext
from knarr.errors import InvalidArgument

MIB = 1 << 20
CONTEXT = BuildContext(
    id="ab" * 32, cgroups_path="/k", cpu_count=2, cpus="0-1", mems="0",
    device_numbers={"/dev/sda": (8, 0)},
)  # fmt: skip


def of(context: BuildContext = CONTEXT, **limits: Any) -> dict[str, Any]:
    result = resources(ContainerConfig(image="x", limits=Limits(**limits)), context)
    del result["devices"]
    return result


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, {}),
        ({"memory": 6 * MIB}, {"memory": {"limit": 6 * MIB, "swap": 12 * MIB}}),
        (
            {"memory": 8 * MIB, "memory_swap": 8 * MIB},
            {"memory": {"limit": 8 * MIB, "swap": 8 * MIB}},
        ),
        ({"memory": 8 * MIB, "memory_swap": -1}, {"memory": {"limit": 8 * MIB}}),
        ({"memory": 0, "memory_swap": 0, "pids": None}, {}),
        ({"memory_reservation": 7 * MIB}, {"memory": {"reservation": 7 * MIB}}),
        ({"nano_cpus": 1_500_000_000}, {"cpu": {"quota": 150_000, "period": 100_000}}),
        ({"nano_cpus": 10_000_000}, {"cpu": {"quota": 1000, "period": 100_000}}),
        ({"cpu_quota": 5000, "cpu_period": 10000}, {"cpu": {"quota": 5000, "period": 10000}}),
        ({"cpu_quota": -1}, {"cpu": {"quota": -1}}),
        ({"cpu_shares": 2}, {"cpu": {"shares": 2}}),
        ({"cpuset_cpus": "1", "cpuset_mems": "0"}, {"cpu": {"cpus": "1", "mems": "0"}}),
        ({"pids": 10}, {"pids": {"limit": 10}}),
        ({"pids": 0}, {"pids": {"limit": -1}}),
        ({"pids": -1}, {"pids": {"limit": -1}}),
        ({"blkio_weight": 10}, {"blockIO": {"weight": 10}}),
        (
            {"device_write_bps": (ThrottleDevice("/dev/sda", 5),)},
            {"blockIO": {"throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 5}]}},
        ),
    ],
)
def test_values(limits: dict[str, Any], expected: dict[str, Any]) -> None:
    assert of(**limits) == expected


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"memory": 6 * MIB - 1}, "Minimum memory limit allowed is 6MB"),
        ({"memory": -1}, "Minimum memory limit allowed is 6MB"),
        (
            {"memory": 8 * MIB, "memory_swap": 7 * MIB},
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            {"memory_swap": 7 * MIB},
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        ({"memory_reservation": 1}, "Minimum memory reservation allowed is 6MB"),
        (
            {"memory": 8 * MIB, "memory_reservation": 9 * MIB},
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (
            {"nano_cpus": 2_000_000_001},
            "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        ),
        (
            {"nano_cpus": -1},
            "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        ),
        (
            {"nano_cpus": 1, "cpu_period": 1000},
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ),
        (
            {"nano_cpus": 1, "cpu_quota": 1000},
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            {"cpu_period": 999},
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        ({"cpu_quota": 999}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        ({"cpu_shares": -1}, "invalid CPU shares (-1): value must be a positive integer"),
        ({"cpuset_cpus": "0-x"}, "Invalid value 0-x for cpuset cpus"),
        ({"cpuset_cpus": "1-0"}, "Invalid value 1-0 for cpuset cpus"),
        ({"cpuset_mems": ","}, "Invalid value , for cpuset mems"),
        (
            {"cpuset_cpus": "0-2"},
            "Requested CPUs are not available - requested 0-2, available: 0-1",
        ),
        (
            {"cpuset_mems": "1"},
            "Requested memory nodes are not available - requested 1, available: 0",
        ),
        ({"blkio_weight": 9}, "Range of blkio weight is from 10 to 1000"),
        ({"blkio_weight": 1001}, "Range of blkio weight is from 10 to 1000"),
        (
            {"device_read_bps": (ThrottleDevice("/dev/none", 5),)},
            "stat /dev/none: no such file or directory",
        ),
        (
            {"device_read_iops": (ThrottleDevice("/dev/sda", 0),)},
            "invalid rate for device: /dev/sda: must be positive",
        ),
    ],
)
def test_limits_that_are_refused(limits: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        of(**limits)
    assert str(caught.value) == text


def test_cpu_lists() -> None:
    assert parse_cpu_list("0-2,7") == {0, 1, 2, 7}
    for text in ("", "a", "1-", "-1", "0-99999999999", "1,,2"):
        with pytest.raises(InvalidArgument):
            parse_cpu_list(text)


def test_devices_are_denied_but_for_the_harmless_ones() -> None:
    rules = resources(ContainerConfig(image="x"), CONTEXT)["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    readable = {(r["major"], r.get("minor")) for r in rules if r["allow"] and r["access"] == "rwm"}
    assert readable == {
        (1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None),
    }  # fmt: skip


def test_privileged_may_use_every_device() -> None:
    config = ContainerConfig(image="x", privileged=True)
    assert resources(config, CONTEXT)["devices"] == [{"allow": True, "access": "rwm"}]
