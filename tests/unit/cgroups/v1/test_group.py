"""The plan of every controller of cgroup v1, and how a hybrid machine shares them out."""

from pathlib import Path
from typing import Any

import pytest

from knarr.cgroups import UnsupportedResource, devicerules
from knarr.cgroups.v1 import devices, group, io, memory

MOUNTED = set(group.CONTROLLERS) | {"devices", "freezer", "cpuacct"}


def writes(resources: dict[str, Any]) -> list[tuple[str, str]]:
    on_v1, on_v2, program = group.plan(resources, MOUNTED, ())
    assert (on_v2, program) == ([], None)
    return [(name, value) for _, part in on_v1 for name, value, _ in part]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, []),
        (
            {"memory": {"limit": 100, "swap": -1, "reservation": 50, "kernel": 9}},
            [
                ("memory.limit_in_bytes", "100"),
                ("memory.memsw.limit_in_bytes", "-1"),
                ("memory.soft_limit_in_bytes", "50"),
            ],
        ),
        ({"memory": {"swappiness": 0}}, [("memory.swappiness", "0")]),
        ({"memory": {"disableOOMKiller": True}}, [("memory.oom_control", "1")]),
        ({"memory": {"kernelTCP": 4096}}, [("memory.kmem.tcp.limit_in_bytes", "4096")]),
        (
            {"cpu": {"shares": 2, "quota": -1, "period": 1000, "burst": 0}},
            [
                ("cpu.shares", "2"),
                ("cpu.cfs_period_us", "1000"),
                ("cpu.cfs_quota_us", "-1"),
                ("cpu.cfs_burst_us", "0"),
            ],
        ),
        (
            {"cpu": {"realtimeRuntime": 10, "realtimePeriod": 20}},
            [("cpu.rt_period_us", "20"), ("cpu.rt_runtime_us", "10")],
        ),
        ({"cpu": {"cpus": "0", "mems": "0"}}, [("cpuset.cpus", "0"), ("cpuset.mems", "0")]),
        ({"pids": {"limit": 3}}, [("pids.max", "3")]),
        (
            {"blockIO": {"weight": 10, "leafWeight": 20}},
            [("blkio.bfq.weight", "10"), ("blkio.leaf_weight", "20")],
        ),
        (
            {"blockIO": {"throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 9}]}},
            [("blkio.throttle.read_iops_device", "8:0 9")],
        ),
        (
            {"hugepageLimits": [{"pageSize": "1GB", "limit": 0}]},
            [("hugetlb.1GB.limit_in_bytes", "0"), ("hugetlb.1GB.rsvd.limit_in_bytes", "0")],
        ),
        (
            {"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]}},
            [("net_cls.classid", "1048577"), ("net_prio.ifpriomap", "eth0 5")],
        ),
    ],
)
def test_plan(resources: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert writes(resources) == expected


def test_a_controller_that_is_nowhere_is_named() -> None:
    with pytest.raises(UnsupportedResource, match="hugetlb is not mounted") as caught:
        group.plan({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}, {"cpu", "devices"}, ())
    assert caught.value.field == "hugepageLimits 2MB"


def test_on_hybrid_a_controller_of_v2_is_set_in_its_way() -> None:
    resources = {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}], "pids": {"limit": 4}}
    on_v1, on_v2, _ = group.plan(resources, {"pids", "devices"}, ("hugetlb", "io"))
    assert [name for name, _ in on_v1] == ["pids"]
    assert on_v2[0][1][0][:2] == ("hugetlb.2MB.max", "0")
    _, on_v2, _ = group.plan({"blockIO": {"weight": 10}}, {"devices"}, ("io",))
    assert on_v2[0][0] == "io"


def test_unified_needs_the_controller_on_v2() -> None:
    with pytest.raises(UnsupportedResource, match="memory is not on cgroup v2"):
        group.plan({"unified": {"memory.high": "1"}}, MOUNTED, ("hugetlb",))
    _, on_v2, _ = group.plan({"unified": {"hugetlb.2MB.max": "0"}}, MOUNTED, ("hugetlb",))
    assert on_v2[0][0] == "unified"


def test_devices_start_with_the_default() -> None:
    entries = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
        {"allow": True, "type": "b", "access": "m"},
    ]
    plan = devices.plan({"devices": entries})
    assert [one[:2] for one in plan] == [
        ("devices.deny", "a"),
        ("devices.allow", "c 1:3 rwm"),
        ("devices.allow", "b *:* m"),
    ]
    plan = devices.plan({"devices": [{"allow": True}, {**entries[1], "allow": False}]})
    assert [one[:2] for one in plan] == [("devices.allow", "a"), ("devices.deny", "c 1:3 rwm")]


def test_swap_below_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="below"):
        memory.plan({"memory": {"limit": 10, "swap": 5}})


def test_oom_kills_count_those_of_groups_made_inside(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for place, number in ((tmp_path, 1), (tmp_path / "inner", 2)):
        text = f"oom_kill_disable 0\nunder_oom 0\noom_kill {number}\n"
        (place / "memory.oom_control").write_text(text)
    assert memory.oom_kills(str(tmp_path)) == 3


def test_accounting_is_switched_on_for_disks_that_are_not_counted_yet(tmp_path: Path) -> None:
    group_root, disks = tmp_path / "blkio", tmp_path / "block"
    group_root.mkdir()
    for name, number, hardware in (
        ("sda", "8:0", True),
        ("sdb", "8:16", True),
        ("loop0", "7:0", False),
    ):
        (disks / name).mkdir(parents=True)
        (disks / name / "dev").write_text(f"{number}\n")
        if hardware:
            (disks / name / "device").mkdir()
    counted = "8:16 Read 5\n8:16 Total 5\nTotal 5\n"
    (group_root / "blkio.throttle.io_service_bytes_recursive").write_text(counted)
    throttle = group_root / "blkio.throttle.read_bps_device"
    throttle.write_text("")
    io.start_accounting(str(group_root), str(disks))
    assert throttle.read_text() == "8:0 0"
    io.start_accounting(str(tmp_path / "none"), str(disks))


def test_the_usual_devices_are_planned_as_any_list_would_be() -> None:
    usual = {"devices": devicerules.USUAL}
    more = {"devices": [*devicerules.USUAL, {"allow": True, "type": "c", "major": 9, "minor": 9}]}
    assert devices.plan(usual) == devices.plan(more)[:-1]
    assert len(devices.plan(usual)) == len(devicerules.USUAL)
