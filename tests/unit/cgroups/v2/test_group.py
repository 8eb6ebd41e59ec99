"""The plan of every controller of cgroup v2: what is asked becomes these writes."""

from typing import Any

import pytest

from knarr.cgroups import UnsupportedResource
from knarr.cgroups.v2 import group


def writes(resources: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, value) for _, part in group.plan(resources) for name, value, _ in part]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, []),
        ({"memory": {"limit": 0, "swap": 0}}, []),
        ({"memory": {"limit": 1 << 20}}, [("memory.max", "1048576")]),
        (
            {"memory": {"limit": 100, "swap": 100, "reservation": 50, "kernel": 7}},
            [("memory.swap.max", "0"), ("memory.max", "100"), ("memory.low", "50")],
        ),
        ({"memory": {"disableOOMKiller": False, "useHierarchy": True}}, []),
        ({"cpu": {"shares": 1024}}, [("cpu.weight", "100")]),
        ({"cpu": {"idle": 1, "shares": 1024}}, [("cpu.idle", "1")]),
        ({"cpu": {"quota": 5000, "burst": 0}}, [("cpu.max", "5000"), ("cpu.max.burst", "0")]),
        ({"cpu": {"realtimeRuntime": 0}}, []),
        ({"cpu": {"cpus": "0-1", "mems": "0"}}, [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]),
        ({"pids": {"limit": -1}}, [("pids.max", "max")]),
        ({"pids": {"limit": 0}}, [("pids.max", "1")]),
        ({"blockIO": {"weight": 500}}, [("io.bfq.weight", "500")]),
        (
            {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}},
            [("io.bfq.weight", "8:0 10")],
        ),
        (
            {
                "blockIO": {
                    "throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 1000}],
                    "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
                }
            },
            [("io.max", "8:16 rbps=1000"), ("io.max", "8:16 wiops=max")],
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 4}]},
            [("hugetlb.2MB.max", "4"), ("hugetlb.2MB.rsvd.max", "4")],
        ),
        (
            {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 4}}},
            [("rdma.max", "mlx5_1 hca_handle=3 hca_object=4")],
        ),
        (
            {"unified": {"memory.high": "5", "io.max": "8:0 rbps=1\n8:1 rbps=2"}},
            [("memory.high", "5"), ("io.max", "8:0 rbps=1"), ("io.max", "8:1 rbps=2")],
        ),
    ],
)
def test_plan(resources: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert writes(resources) == expected


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"memory": {"swappiness": 10}}, "memory.swappiness"),
        ({"memory": {"kernelTCP": 10}}, "memory.kernelTCP"),
        ({"memory": {"disableOOMKiller": True}}, "memory.disableOOMKiller"),
        ({"memory": {"useHierarchy": False}}, "memory.useHierarchy"),
        ({"cpu": {"realtimePeriod": 10}}, "cpu.realtimePeriod"),
        ({"blockIO": {"leafWeight": 10}}, "blockIO.leafWeight"),
        ({"network": {"classID": 1}}, "network.classID"),
        ({"network": {"priorities": [{"name": "lo", "priority": 1}]}}, "network.priorities"),
    ],
)
def test_what_only_v1_has(resources: dict[str, Any], field: str) -> None:
    with pytest.raises(UnsupportedResource) as caught:
        group.plan(resources)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ({"memory": {"limit": "5m"}}, r"memory\.limit"),
        ({"memory": {"limit": -2}}, r"memory\.limit"),
        ({"memory": {"limit": 10, "swap": 5}}, "below"),
        ({"memory": {"swap": 5}}, "needs"),
        ({"memory": []}, "memory"),
        ({"cpu": {"idle": 2}}, r"cpu\.idle"),
        ({"cpu": {"cpus": "a"}}, r"cpu\.cpus"),
        ({"pids": {"limit": True}}, r"pids\.limit"),
        ({"blockIO": {"weight": 5}}, "10 to 1000"),
        ({"blockIO": {"weight": 1001}}, r"blockIO\.weight"),
        ({"blockIO": {"weightDevice": [{"weight": 50}]}}, "both numbers"),
        ({"hugepageLimits": [{"pageSize": "2mb", "limit": 1}]}, "pageSize"),
        ({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}, "pageSize"),
        ({"hugepageLimits": [{"pageSize": "2MB"}]}, "limit"),
        ({"rdma": {"a b": {"hcaHandles": 1}}}, "device name"),
        ({"rdma": {"mlx": {}}}, "needs"),
        ({"unified": {"../memory.max": "1"}}, "control file"),
        ({"unified": {"memory": "1"}}, "control file"),
        ({"unified": {"cgroup.procs": "1"}}, "not a resource"),
        ({"unified": {"cgroup.subtree_control": "+pids"}}, "not a resource"),
        ({"unified": {"memory.max": 5}}, "expected a text"),
    ],
)
def test_bad_values_are_named(resources: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        group.plan(resources)


def test_needed_controllers_come_with_the_field_that_asks() -> None:
    work = group.plan(
        {"pids": {"limit": 1}, "unified": {"hugetlb.2MB.max": "0", "cgroup.max.depth": "1"}}
    )
    assert group.needed(work) == {"pids": "pids.limit", "hugetlb": "unified.hugetlb.2MB.max"}
